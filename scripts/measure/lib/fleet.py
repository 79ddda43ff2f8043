"""The parts of scripts/measure/fleet.

usage: fleet.py PART RAW THRONG HARNESS

Writes the harness's reports and PART.txt, the figures, to the directory RAW. Exits 0 only if the
figures hold.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

NATS = ".venv/bin/nats-server"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 60


def free_ports(count):
    """Returns ports below those that the system gives to outgoing connections."""
    found = []
    port = 12_000 + os.getpid() % 10_000
    while len(found) < count:
        port += 1
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                pass
    return found


def wait(what, is_true, patience=PATIENCE):
    deadline = time.monotonic() + patience
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {patience} s in vain until {what}")
        time.sleep(0.02)


def connects(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024


class Nats:
    """One NATS server with file storage, or a cluster of three."""

    def __init__(self, root, size=1):
        self.root = root
        self.ports = free_ports(2 * size)[:size]
        self.routes = free_ports(4 * size)[2 * size : 3 * size]
        self.monitors = free_ports(6 * size)[4 * size : 5 * size]
        self.servers = [None] * size
        for at in range(size):
            self.start(at)
        if size > 1:
            wait("NATS has elected", lambda: self.leader() is not None)

    def start(self, at):
        words = [NATS, "-a", "127.0.0.1", "-p", str(self.ports[at]), "-js", "-sd", str(self.root / f"nats-{at}")]
        words += ["-m", str(self.monitors[at])]
        if len(self.ports) > 1:
            routes = ",".join(f"nats://127.0.0.1:{port}" for port in self.routes)
            words += ["--name", f"nats-{at}", "--cluster_name", "trial"]
            words += ["--cluster", f"nats://127.0.0.1:{self.routes[at]}", "--routes", routes]
        log = open(self.root / f"nats-{at}.log", "ab")
        self.servers[at] = subprocess.Popen(words, stdout=log, stderr=log)
        wait("NATS takes connections", lambda: connects(self.ports[at]))

    def signal(self, at, number):
        self.servers[at].send_signal(number)
        if number == signal.SIGKILL:
            self.servers[at].wait()

    def leader(self):
        """Returns the number of the server that leads the stream of the world, or the cluster."""
        for at, port in enumerate(self.monitors):
            try:
                url = f"http://127.0.0.1:{port}/jsz?streams=true"
                with urllib.request.urlopen(url, timeout=2) as answer:
                    found = json.load(answer)
            except OSError:
                continue
            for account in found.get("account_details", []):
                for stream in account.get("stream_detail", []):
                    if stream["name"].startswith("throng-"):
                        return int(stream["cluster"]["leader"].rsplit("-", 1)[1])
            leader = found.get("meta_cluster", {}).get("leader")
            if leader:
                return int(leader.rsplit("-", 1)[1])
        return None

    def cpu(self):
        return sum(cpu_seconds(server.pid) for server in self.servers)

    def end(self):
        for server in self.servers:
            server.kill()
            server.wait()


class Node:
    """A chat server."""

    def __init__(self, throng, root, number, settings, first=None):
        self.throng = throng
        self.data = root / f"node-{number}"
        self.chat, links, self.admin = free_ports(3 + 3 * number)[3 * number :]
        subprocess.run([throng, "keygen", "--data", self.data], check=True, stdout=subprocess.DEVNULL)
        if first:
            shutil.copy(first.data / "cluster.key", self.data / "cluster.key")
        self.settings = [
            f"chat.name=chat-{number}",
            f"chat.listen=127.0.0.1:{self.chat}",
            f"chat.link_listen=127.0.0.1:{links}",
            f"admin.listen=127.0.0.1:{self.admin}",
            "log.console=false",
            "shutdown.drain=10s",
            *settings,
        ]
        self.process = None

    def start(self):
        words = [self.throng, "chat", "--data", self.data]
        for setting in self.settings:
            words += ["--set", setting]
        (self.data / "endpoints.toml").unlink(missing_ok=True)
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_up(self):
        return (self.data / "endpoints.toml").exists()

    def metric(self, name):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5) as page:
                text = page.read().decode()
        except OSError:
            return None
        found = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
        return int(found.group(1)) if found else None

    def end(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.process.wait()


class Fleet:
    """Nodes, NATS, and runs of the harness against them."""

    def __init__(self, arguments, nodes=3, nats=1, settings=(), is_fleet=True):
        self.raw, self.throng, self.harness = arguments
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="throng-fleet."))
        self.nats = Nats(self.root, nats) if is_fleet else None
        own = list(settings)
        if is_fleet:
            own.append("fleet.nats=" + ",".join(f"127.0.0.1:{port}" for port in self.nats.ports))
            own.append(f"fleet.replicas={nats}")
        self.nodes = []
        for number in range(nodes):
            first = self.nodes[0] if self.nodes else None
            self.nodes.append(Node(self.throng, self.root, number, own, first))
        for node in self.nodes:
            node.start()
        wait("the nodes are up", lambda: all(node.is_up() for node in self.nodes))
        if is_fleet:
            self.wait_for_all()

    def wait_for_all(self):
        size = len(self.nodes)
        for node in self.nodes:
            sees = lambda: node.metric("throng_fleet_nodes") == size and node.metric("throng_fleet_current") == 1
            wait("all nodes take part", sees)

    def begin(self, name, *flags):
        data = ",".join(str(node.data) for node in self.nodes)
        words = [self.harness, *flags, "--plain", "--data", data, "--json", self.raw / f"{name}.json"]
        output = open(self.raw / f"{name}.out", "wb")
        return subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)

    def wait_for_messages(self):
        said = lambda: sum(node.metric("throng_chat_broadcasts_total") or 0 for node in self.nodes)
        before = said()
        wait("messages flow", lambda: said() > before + 20)

    def report(self, name, run):
        code = run.wait()
        path = self.raw / f"{name}.json"
        if not path.exists():
            raise RuntimeError(f"{name}: exit {code}\n" + (self.raw / f"{name}.out").read_text()[-2000:])
        return json.loads(path.read_text())

    def run(self, name, *flags):
        return self.report(name, self.begin(name, *flags))

    def pids(self):
        return [node.process.pid for node in self.nodes]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            if node.process and node.process.poll() is None:
                node.end()
        if self.nats:
            self.nats.end()
        shutil.rmtree(self.root, ignore_errors=True)


class Findings:
    """Lines of figures, and whether they hold."""

    def __init__(self, title):
        self.lines = [title]
        self.holds = True

    def line(self, text, holds=True):
        self.holds &= holds
        self.lines.append(f"  {text}" + ("" if holds else "   DOES NOT HOLD"))

    def accounts(self, report, name):
        """Every delivery is accounted for, and all clients are there at the end."""
        it, clients = report["deliveries"], report["clients"]
        faults = {key: it[key] for key in ("missing", "duplicated", "reordered", "leaked")}
        faults["disconnected"] = clients["disconnected"]
        shown = ", ".join(f"{count} {key}" for key, count in faults.items())
        self.line(
            f"{name}: {clients['connected']:,} clients, {it['received']:,} of {it['expected']:,} deliveries; {shown}",
            not any(faults.values()) and clients["connected"] == clients["requested"],
        )
        latency = report["latency_us"]
        self.line(f"{name}: p50 {latency['p50'] / 1e3:,.1f} ms, p99 {latency['p99'] / 1e3:,.1f} ms")

    def resumes(self, report, name, wanted, p99_ms=None):
        it = report["resume"]
        whole = it["resumed"] == it["cuts"] >= wanted and it["false_notices"] == 0 and it["gaps"] == 0
        self.line(
            f"{name}: {it['resumed']:,} of {it['cuts']:,} lost connections resumed, "
            f"{it['false_notices']} notices of them, {it['gaps']} gaps",
            whole,
        )
        back = it["back_us"]
        self.line(
            f"{name}: back after {back['p50'] / 1e3:,.0f} ms (p50), {back['p99'] / 1e3:,.0f} ms (p99), "
            f"{back['max'] / 1e3:,.0f} ms (the last)",
            p99_ms is None or back["p99"] < p99_ms * 1e3,
        )


def load(duration, clients=9_000, interval="200ms"):
    return ("broadcast", "--clients", str(clients), "--interval", interval, "--duration", duration, "--seed", "1")


def rooms(arguments):
    found = Findings("rooms: 9,000 clients of three nodes, notices on")
    with Fleet(arguments) as fleet:
        found.accounts(fleet.run("rooms-world", *load("20s")), "world")
        report = fleet.run(
            "rooms-channels", *load("20s", interval="5ms"), "--scope", "channel", "--channels", "50"
        )
        found.accounts(report, "50 channels")
    return found


def calm_again(path):
    """Returns the p99 in ms of the worst second, and the seconds whose p99 is above four medians."""
    unit = {"us": 1e-3, "ms": 1, "s": 1e3}
    found = re.findall(r"^\s*\d+s .*p99 ([\d.]+) (us|ms|s)", path.read_text(errors="replace"), re.MULTILINE)
    p99 = [float(number) * unit[of] for number, of in found]
    return max(p99), sum(value > 4 * statistics.median(p99) for value in p99)


def deaths(arguments):
    found = Findings("deaths: ten times kill -9 of a node, 9,000 clients of three nodes, 3,000 each")
    totals = {"cuts": 0, "resumed": 0, "false_notices": 0, "gaps": 0}
    noticed, back, worst, disturbed = [], [], [], []
    with Fleet(arguments) as fleet:
        for turn in range(10):
            name = f"deaths-{turn}"
            run = fleet.begin(name, *load("10s"), "--resume", "--connect-interval", "500us")
            fleet.wait_for_messages()
            time.sleep(3)
            node = fleet.nodes[turn % 3]
            others = [other for other in fleet.nodes if other is not node]
            node.end()
            began = time.monotonic()
            wait("its death is noticed", lambda: all(other.metric("throng_fleet_nodes") == 2 for other in others))
            noticed.append(time.monotonic() - began)
            report = fleet.report(name, run)
            found.accounts(report, f"turn {turn + 1}")
            for key in totals:
                totals[key] += report["resume"][key]
            back.append(report["resume"]["back_us"]["p99"] / 1e3)
            top, count = calm_again(fleet.raw / f"{name}.out")
            worst.append(top)
            disturbed.append(count)
            node.start()
            fleet.wait_for_all()
            wait("the node is up", node.is_up)
    found.line(
        "{resumed:,} of {cuts:,} lost connections resumed, {false_notices} notices of them, {gaps} gaps".format(**totals),
        totals["resumed"] == totals["cuts"] >= 30_000 and not totals["false_notices"] and not totals["gaps"],
    )
    shown = lambda of, unit: f"{statistics.median(of):,.2f} ({min(of):,.2f} to {max(of):,.2f}) {unit}"
    found.line(f"noticed after {shown(noticed, 's')}", max(noticed) < 1.7)
    found.line(f"back, p99: {shown(back, 'ms')}", max(back) < 2_000)
    found.line(f"all clients, p99 of the worst second: {shown(worst, 'ms')}")
    found.line(f"seconds with a p99 above four medians: {shown(disturbed, 's')}", max(disturbed) <= 2)
    return found


def restarts(arguments):
    found = Findings("restarts: three nodes end in order and start again, 9,000 clients")
    with Fleet(arguments) as fleet:
        run = fleet.begin("restarts", *load("60s"), "--resume")
        fleet.wait_for_messages()
        for node in fleet.nodes:
            time.sleep(3)
            code = node.end(signal.SIGTERM)
            found.line(f"a node ended with exit code {code}", code == 0)
            node.start()
            fleet.wait_for_all()
        report = fleet.report("restarts", run)
        found.accounts(report, "world")
        found.resumes(report, "restarts", 9_000)
    return found


def bus(arguments):
    found = Findings("bus: what was accepted is delivered, and what was refused is not")

    def disturbed(name, fleet, disturb):
        run = fleet.begin(name, *load("30s", 3_000, "50ms"), "--resume")
        fleet.wait_for_messages()
        time.sleep(2)
        disturb()
        report = fleet.report(name, run)
        found.accounts(report, name)
        refused = sum(node.metric("throng_fleet_refused_total") for node in fleet.nodes)
        unreadable = sum(node.metric("throng_fleet_unreadable_total") for node in fleet.nodes)
        found.line(f"{name}: {refused} requests refused meanwhile, {unreadable} messages of another epoch", unreadable == 0)
        fleet.wait_for_all()

    def kill_and_start():
        fleet.nats.signal(0, signal.SIGKILL)
        time.sleep(5)
        fleet.nats.start(0)

    def freeze():
        fleet.nats.signal(0, signal.SIGSTOP)
        time.sleep(10)
        fleet.nats.signal(0, signal.SIGCONT)

    with Fleet(arguments) as fleet:
        disturbed("killed", fleet, kill_and_start)
        disturbed("frozen", fleet, freeze)
    with Fleet(arguments, nats=3) as fleet:

        def kill_leader():
            leader = fleet.nats.leader()
            fleet.nats.signal(leader, signal.SIGKILL)
            time.sleep(10)
            fleet.nats.start(leader)

        disturbed("leader", fleet, kill_leader)
    return found


def crowd(arguments):
    clients, nodes = 100_000, 7
    found = Findings(f"crowd: {clients:,} encrypted connections to {nodes} nodes, one world, notices on")
    settings = ["chat.max_sessions=15500", "net.send_buffer=16KiB", "chat.history_pool=4MiB"]
    with Fleet(arguments, nodes=nodes, settings=settings) as fleet:
        began = time.monotonic()
        run = fleet.begin(
            "crowd", "broadcast", "--clients", str(clients), "--processes", "8", "--connect-interval", "1ms",
            "--connect-timeout", "600s", "--interval", "10s", "--duration", "60s", "--warmup", "0s", "--lists", "none",
        )  # fmt: skip
        users = lambda: fleet.nodes[0].metric("throng_chat_users") or 0
        wait("all are in", lambda: users() >= clients or run.poll() is not None, 900)
        found.line(f"all in after {time.monotonic() - began:,.0f} s")
        time.sleep(5)
        servers = [memory(pid) for pid in fleet.pids()]
        cpu = sum(cpu_seconds(pid) for pid in fleet.pids())
        report = fleet.report("crowd", run)
        found.accounts(report, "world")
        last = report["last_recipient_us"]
        found.line(f"a message reaches the last after {last['p50'] / 1e6:,.2f} s (p50), {last['max'] / 1e6:,.2f} s (max)")
        found.line(f"memory of the nodes: {sum(servers) / clients / 1e3:,.1f} KB a connection")
        found.line(f"memory of the harness: {report['harness']['rss_bytes'] / clients / 1e3:,.1f} KB a client")
        found.line(f"CPU of the nodes to the time when all were in: {cpu:,.0f} s")
    return found


def cost(arguments):
    found = Findings("cost: one node with NATS beside one without, three turns each; servers on core 0")
    cases = {
        "A": ("broadcast", "--clients", "1000", "--interval", "10ms"),
        "D": ("broadcast", "--clients", "9000", "--interval", "30ms", "--lists", "none"),
        # Not bound: here the cost is that of a message, and not of its deliveries.
        "small rooms": ("broadcast", "--clients", "1000", "--interval", "2ms", "--scope", "channel", "--channels", "50"),
    }
    figures = {}
    for turn in range(3):
        for is_fleet in (turn % 2 == 0, turn % 2 == 1):
            with Fleet(arguments, nodes=1, is_fleet=is_fleet) as fleet:
                pinned = fleet.pids() + ([fleet.nats.servers[0].pid] if is_fleet else [])
                for pid in pinned:
                    subprocess.run(["taskset", "-acp", "0", str(pid)], check=True, stdout=subprocess.DEVNULL)
                for case, flags in cases.items():
                    before = sum(map(cpu_seconds, pinned)), cpu_seconds(pinned[0])
                    name = f"cost-{case[0]}-{'fleet' if is_fleet else 'alone'}-{turn}"
                    run = fleet.begin(name, *flags, "--duration", "15s", "--seed", str(turn + 1))
                    os.sched_setaffinity(run.pid, {1})
                    report = fleet.report(name, run)
                    spent = sum(map(cpu_seconds, pinned)) - before[0], cpu_seconds(pinned[0]) - before[1]
                    received = report["deliveries"]["received"]
                    figures.setdefault((case, is_fleet), []).append(
                        (report["latency_us"]["p50"], spent[1] / received * 1e6, spent[0] / received * 1e6)
                    )
                    found.accounts(report, name)
    for case in cases:
        alone, with_nats = (statistics.median(f[0] for f in figures[case, side]) for side in (False, True))
        found.line(f"{case}: p50 {alone / 1e3:.2f} ms alone, {with_nats / 1e3:.2f} ms in a fleet", with_nats - alone <= 1_500)
        alone, node, both = (
            statistics.median(f[at] for f in figures[case, side]) for side, at in ((False, 1), (True, 1), (True, 2))
        )
        found.line(
            f"{case}: CPU of a delivery {alone:.2f} us alone; in a fleet {node:.2f} us of the node "
            f"({node / alone:.2f}x), {both:.2f} us with NATS",
            node <= 1.1 * alone or case not in "AD",
        )
    with Fleet(arguments, nodes=2) as fleet:
        report = fleet.run(
            "cost-whisper", "broadcast", "--clients", "200", "--interval", "10ms", "--duration", "15s", "--scope", "whisper"
        )
        found.accounts(report, "whispers of two nodes")
        found.line(f"a whisper p50 {report['latency_us']['p50'] / 1e3:.2f} ms", report["latency_us"]["p50"] < 2_000)
    return found


def main():
    part, raw, *programs = sys.argv[1:]
    found = globals()[part]((pathlib.Path(raw), *programs))
    text = "\n".join(found.lines) + "\n"
    (pathlib.Path(raw) / f"{part}.txt").write_text(text + "\n")
    print(text)
    sys.exit(0 if found.holds else 1)


main()
