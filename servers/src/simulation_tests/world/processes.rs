//! Processes of the simulated world: they start, are killed, pause and tick.

use super::*;

impl World {
    pub(super) fn is_up(&self, process: Process) -> bool {
        match process {
            LOGIN => self.login.is_some(),
            CHAT => self.chat.is_some(),
            agent => self.agents[agent - AGENT].is_some(),
        }
    }

    pub(super) fn runs(&self, process: Process) -> bool {
        self.is_up(process) && self.paused_until[process].is_none()
    }

    /// Returns the number that a process draws at its start.
    pub(in crate::simulation_tests) fn instance(&self, process: Process) -> u64 {
        1 + process as u64 + 100 * self.starts[process]
    }

    pub(super) fn start(&mut self, process: Process) {
        let now = self.now;
        self.starts[process] += 1;
        let cluster = ClusterKey::from_bytes(KEY);
        // Pauses between dials are drawn by the simulation.
        let backoff = Backoff { min: Duration::ZERO, max: Duration::ZERO };
        let instance = self.instance(process);
        let peer = |role, process: Process| Peer { role, address: ([127, 0, 0, 1], process as u16).into() };
        let agents = (AGENT..PROCESSES).map(|agent| peer(PeerRole::DbAgent, agent));
        match process {
            LOGIN => {
                let peers = [peer(PeerRole::Chat, CHAT)].into_iter().chain(agents).collect();
                let settings = LoginSettings {
                    take_over: self.plan.take_over,
                    seats: 100,
                    stay: Duration::from_secs(20),
                    queue: 100,
                    ticket_lifetime: self.plan.ticket_lifetime,
                    request_timeout: REQUEST_TIMEOUT,
                    cluster,
                    // Players of the simulation log in far more often than people.
                    limits: Limits { logins: Rate::OFF, ..Config::default().limits },
                    reserved: Reserved::default(),
                };
                let links = links_with(backoff, PeerRole::Login, instance, peers, now);
                self.login = Some(LoginRole::new(settings, links, login_ms));
            }
            CHAT => {
                let plan = &self.plan;
                let mut config = Config::default();
                config.chat.resume_window = plan.window;
                config.chat.history = plan.history;
                config.chat.history_age = plan.age;
                config.chat.history_on_join = plan.on_join;
                config.chat.history_on_enter = plan.on_enter;
                let settings = ChatSettings {
                    take_over: plan.take_over,
                    ticket_lifetime: plan.ticket_lifetime,
                    request_timeout: REQUEST_TIMEOUT,
                    crowd: 2,
                    notice_at_once: 2,
                    notice_interval: Duration::from_millis(200),
                    resume_bytes: plan.resume_bytes,
                    away_max: plan.away_max,
                    ..ChatSettings::of(&config)
                };
                let links = links_with(backoff, PeerRole::Chat, instance, agents.collect(), now);
                let admission = Admission::new(cluster, CHAT_KEY, chat_ms());
                self.chat = Some(ChatRole::new(settings, admission, resume_tokens(instance), links, chat_ms));
            }
            _ => {
                let name = ["agent one", "agent two"][process - AGENT];
                let number = agent_number(name, self.starts[process] as u32);
                let crew = Arc::new(Mutex::new(Crew::new(number)));
                let settings = DbAgentSettings {
                    comeback: GRACE + DIAL_MAX,
                    lease: LEASE,
                    lease_grace: GRACE,
                    request_timeout: REQUEST_TIMEOUT,
                };
                let links = links_with(backoff, PeerRole::DbAgent, instance, Vec::new(), now);
                let handle = Arc::new(Handle::new(crew.clone()));
                let role = DbAgentRole::new(settings, links, handle, now);
                self.agents[process - AGENT] = Some(Agent { role, crew });
            }
        }
    }

    pub(super) fn kill(&mut self, process: Process) {
        self.paused_until[process] = None;
        self.dials.retain(|dial| dial.from != process);
        self.client_jobs.retain(|job| job.process != process);
        self.strays.retain(|(of, _)| *of != process);
        for link in &mut self.links {
            for end in 0..2 {
                if link.ends[end].0 == process {
                    link.is_cut = true;
                    link.is_noticed[end] = true;
                    link.queues[end].clear();
                }
            }
        }
        match process {
            LOGIN => {
                self.count(Kind::LoginKilled);
                self.login = None;
                for member in &mut self.members {
                    member.login = None;
                }
            }
            CHAT => {
                self.count(Kind::ChatKilled);
                self.chat = None;
                self.rooms.clear();
                self.latest.clear();
                self.truth.end();
                self.lost.clear();
                for member in &mut self.members {
                    member.hang_up();
                }
            }
            agent => {
                self.count(Kind::AgentKilled);
                if let Some(Agent { role, crew }) = self.agents[agent - AGENT].take() {
                    drop(role);
                    let crew = Arc::into_inner(crew).expect("the role has ended").into_inner();
                    crew.die(&mut self.server, self.now);
                }
            }
        }
    }

    pub(super) fn pause(&mut self, process: Process) {
        if self.paused_until[process].is_some() {
            return self.resume(process);
        }
        if self.is_up(process) {
            self.count(match process {
                LOGIN => Kind::LoginPaused,
                CHAT => Kind::ChatPaused,
                _ => Kind::AgentPaused,
            });
            let pause = Duration::from_millis(self.dice.below(PAUSE_MAX) as u64);
            self.paused_until[process] = Some(self.now + pause);
        }
    }

    pub(super) fn resume(&mut self, process: Process) {
        self.paused_until[process] = None;
        let is_end = |link: &Link, end: usize| link.ends[end].0 == process && !link.queues[end].is_empty();
        let waits = self.links.iter().any(|link| is_end(link, 0) || is_end(link, 1));
        if waits || self.client_jobs.iter().any(|job| job.process == process) {
            self.count(Kind::BurstAfterPause);
        }
    }

    pub(super) fn tick(&mut self) {
        let mut effects = Effects::default();
        if self.runs(LOGIN)
            && let Some(login) = &mut self.login
        {
            login.tick(self.now, &mut effects);
            self.carry_out(LOGIN, &mut effects);
        }
        if self.runs(CHAT)
            && let Some(chat) = &mut self.chat
        {
            chat.tick(self.now, &mut effects);
            self.truth.expire(self.now, &mut self.server.counts);
            self.carry_out(CHAT, &mut effects);
        }
        for number in 0..AGENTS {
            if self.runs(AGENT + number)
                && let Some(agent) = &mut self.agents[number]
            {
                agent.role.tick(self.now, &mut effects);
                self.carry_out(AGENT + number, &mut effects);
            }
        }
        // Links are named by their index, so only the last ones can be removed.
        while self.links.last().is_some_and(|link| link.is_noticed == [true; 2]) {
            self.links.pop();
        }
    }
}
