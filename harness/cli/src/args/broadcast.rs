//! Flags of `broadcast`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_core::limits::CHAT_TEXT_MAX;
use throng_harness_model::limits::MESSAGES_MAX;
use throng_harness_model::payload::PAYLOAD_MIN;
use throng_harness_model::schedule::points_in;
use throng_harness_model::spec::Broadcast;

use super::common::Common;
use super::examples;
use super::setting::RawSetting;

#[derive(Debug, Args)]
#[command(next_help_heading = "Messages", after_help = examples::BROADCAST)]
pub(super) struct RawBroadcast {
    /// Time that messages are sent; the default is long enough for `report` to compare runs
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// Time between two messages of all clients together
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_duration)]
    pub(super) interval: Duration,
    #[command(flatten)]
    traffic: RawTraffic,
    #[command(flatten)]
    pub(super) common: Common,
}

/// Flags of a broadcast that do not depend on its clients and rate, shared with runs of several
/// steps.
#[derive(Debug, Args)]
#[command(next_help_heading = "Messages")]
pub(super) struct RawTraffic {
    /// Bytes of text in each message
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    payload: usize,
    /// Clients that may send [default: all]
    #[arg(long, value_name = "N")]
    senders: Option<u32>,
    /// Time that messages are sent before the measurement
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    warmup: Duration,
    /// Longest wait for outstanding deliveries after the last message
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    drain: Duration,
    #[command(flatten)]
    setting: RawSetting,
}

impl RawBroadcast {
    pub(super) fn check(&self) -> Result<Broadcast, String> {
        self.traffic.check(self.common.clients(), self.interval, self.duration)
    }
}

impl RawTraffic {
    /// The broadcast of `clients`, with a message every `interval` for `duration`.
    pub(super) fn check(
        &self,
        clients: u32,
        interval: Duration,
        duration: Duration,
    ) -> Result<Broadcast, String> {
        if interval.is_zero() {
            return Err("--interval 0s is no interval: the smallest is 1ns".into());
        }
        if duration.is_zero() {
            return Err("--duration 0s sends nothing: use at least one --interval".into());
        }
        let Some(messages) = points_in(duration, interval) else {
            return Err(format!(
                "--duration and --interval make more than {MESSAGES_MAX} messages, the most that can be accounted for: \
                 shorten --duration or lengthen --interval"
            ));
        };
        if self.payload < PAYLOAD_MIN {
            return Err(format!(
                "--payload {} is too small: a message carries its number and times, which take {PAYLOAD_MIN} bytes",
                self.payload
            ));
        }
        if self.payload > CHAT_TEXT_MAX {
            return Err(format!(
                "--payload {} is too large: a chat text has at most {CHAT_TEXT_MAX} bytes",
                self.payload
            ));
        }
        let setting = self.setting.check(clients)?;
        let speakers = setting.speakers(clients);
        let senders = self.senders.unwrap_or(speakers);
        if !(1..=speakers).contains(&senders) {
            return Err(format!("--senders {senders} of --clients {clients}: from 1 to {speakers} can send"));
        }
        Ok(Broadcast {
            messages,
            duration,
            interval,
            payload: self.payload,
            senders,
            warmup: self.warmup,
            drain: self.drain,
            pause: Duration::ZERO,
            setting,
            ahead: None,
            is_adjustable: false,
            leave: true,
        })
    }
}
