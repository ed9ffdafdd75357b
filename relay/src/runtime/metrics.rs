//! A relay's status as OpenMetrics text. Label values come from this file and from the RFC's error codes alone: none
//! is a user's name, an address, or anything else that a client chose.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::status::{Condition, Need, Shared, Status};
use crate::gateway::{Counts, Rejected};
use crate::net::signalling::Tally;
use crate::net::totals::{ByTransport, Totals, Ways};

type Count = fn(&Totals) -> u64;
type OfTally = fn(&Tally) -> &AtomicU64;

/// Every key of `[limits]`, with how often it was met. `drain_deadline` is missing: the relay ends with it.
const LIMITS: [(&str, Count); 13] = [
    ("sessions", |it| it.requests.limited.sessions),
    ("sessions_per_address", |it| it.requests.limited.sessions_per_address),
    ("permissions", |it| it.requests.limited.permissions),
    ("channels", |it| it.requests.limited.channels),
    ("stranger_answers", |it| it.requests.limited.stranger_answers),
    ("stranger_answers_total", |it| it.requests.limited.stranger_answers_total),
    ("checks", |it| it.gateway.map_or(0, |it| it.counts.limited_checks)),
    ("checks_total", |it| it.gateway.map_or(0, |it| it.counts.limited_checks_total)),
    ("strangers", |it| it.limited.strangers),
    ("strangers_per_address", |it| it.limited.strangers_per_address),
    ("handshake_timeout", |it| it.limited.handshake_timeout + it.handshakes.timed_out),
    ("stranger_timeout", |it| it.limited.stranger_timeout + it.limited.unfinished_frame),
    ("queue", |it| it.limited.queue),
];

/// Those that the gateway's signalling meets, alone or as well.
const SIGNALLING_LIMITS: [(&str, OfTally); 4] = [
    ("transports", |it| &it.limited_transports),
    ("transports_per_connection", |it| &it.limited_transports_of_one),
    ("signalling", |it| &it.limited_connections),
    ("handshake_timeout", |it| &it.limited_handshakes),
];

/// What each of them counts.
const LIMITED: &str = "How often a bound of [limits] was met, by its key: \
    sessions, requests answered with 508; \
    sessions_per_address, with 486; \
    permissions and channels, with 508; \
    stranger_answers and stranger_answers_total, datagrams not answered; \
    checks and checks_total, checks not looked at; \
    transports and transports_per_connection, transports of dialog's left to themselves; \
    signalling, connections closed at once; \
    strangers and strangers_per_address, connections closed at once; \
    handshake_timeout, connections closed before they said anything or finished their TLS handshake; \
    stranger_timeout, connections closed without an allocation or with a frame that did not end; \
    queue, packets lost because their client reads too slowly";

/// The whole document.
pub(super) fn render(status: &Arc<Status>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("hubs_relay");
    registry.register_collector(Box::new(Reader(Arc::clone(status))));
    let mut document = String::new();
    text::encode(&mut document, &registry)?;
    Ok(document)
}

#[derive(Debug)]
struct Reader(Arc<Status>);

impl Collector for Reader {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (workers, facts) = (self.0.totals(), self.0.facts());
        let sum = |pick: &dyn Fn(&Totals) -> u64| workers.iter().map(pick).sum::<u64>();
        let by_transport = |pick: &dyn Fn(&Totals) -> ByTransport| {
            let label = |name| [("transport", name)];
            [
                (label("udp"), sum(&|it| pick(it).udp)),
                (label("tcp"), sum(&|it| pick(it).tcp)),
                (label("tls"), sum(&|it| pick(it).tls)),
            ]
        };
        let by_direction = |to_peers: u64, to_clients: u64| {
            [([("direction", "to_peers")], to_peers), ([("direction", "to_clients")], to_clients)]
        };
        let mut out = Writer(encoder);

        out.gauges("sessions", "Allocations at the moment", None, by_transport(&|it| it.sessions))?;
        out.counters("allocations", "Allocations so far", None, by_transport(&|it| it.allocations))?;
        let packets = by_direction(sum(&|it| it.to_peers.packets), sum(&|it| it.to_clients.packets));
        out.counters("packets", "Payloads forwarded", None, packets)?;
        let bytes = by_direction(sum(&|it| it.to_peers.bytes), sum(&|it| it.to_clients.bytes));
        out.counters("payload", "Bytes of payloads forwarded", Some(&Unit::Bytes), bytes)?;
        let help = "Packets lost because their client on TCP or TLS reads too slowly";
        out.counters("queue_drops", help, None, [(NO_LABELS, sum(&|it| it.limited.queue))])?;
        let unopened = [
            ([("reason", "no_port")], sum(&|it| it.unopened_relays.no_port)),
            ([("reason", "system")], sum(&|it| it.unopened_relays.other)),
        ];
        let help = "Allocations refused because no relay socket could be opened: no port of relay.ports is free, or the \
                    system refuses";
        out.counters("unopened_relays", help, None, unopened)?;

        let is_draining = u64::from(workers.iter().any(|it| it.is_draining));
        out.gauges("draining", "1 if no more allocations are made", None, [(NO_LABELS, is_draining)])?;

        let mut errors = BTreeMap::<_, u64>::new();
        let mut refused = BTreeMap::<_, u64>::new();
        for requests in workers.iter().map(|it| &it.requests) {
            for (code, count) in &requests.errors {
                *errors.entry(code.0.to_string()).or_default() += count;
            }
            for (reason, count) in &requests.refused {
                *refused.entry(*reason).or_default() += count;
            }
        }
        let errors = errors.iter().map(|(code, count)| ([("code", code.as_str())], *count));
        out.counters("error_responses", "Requests answered with an error, by its STUN code", None, errors)?;
        let granted = [("granted", sum(&|it| it.requests.authenticated))];
        let outcomes =
            granted.into_iter().chain(refused).map(|(outcome, count)| ([("outcome", outcome)], count));
        out.counters("authentications", "Users who came to allocate", None, outcomes)?;

        let put_off = [
            ([("outcome", "waits")], sum(&|it| it.put_off.until_read)),
            ([("outcome", "not_put_off")], sum(&|it| it.put_off.refused)),
        ];
        let help = "Requests that no known secret signed: put off until the database is read, or not because too many wait";
        out.counters("rereads", help, None, put_off)?;

        self.write_limited(&mut out, &sum)?;
        let strangers = sum(&|it| it.strangers as u64);
        let help = "TCP and TLS connections without an allocation at the moment";
        out.gauges("strangers", help, None, [(NO_LABELS, strangers)])?;
        let help = "Times that a connection could not be accepted, for want of open files, say";
        out.counters("unaccepted_connections", help, None, [(NO_LABELS, sum(&|it| it.unaccepted))])?;
        let handshakes = [
            ([("outcome", "completed")], sum(&|it| it.handshakes.completed)),
            ([("outcome", "failed")], sum(&|it| it.handshakes.failed)),
            ([("outcome", "timed_out")], sum(&|it| it.handshakes.timed_out)),
        ];
        out.counters("tls_handshakes", "TLS handshakes with clients", None, handshakes)?;

        let headers = [
            ([("outcome", "believed")], sum(&|it| it.proxy_headers.believed)),
            ([("outcome", "untrusted")], sum(&|it| it.proxy_headers.untrusted)),
            ([("outcome", "malformed")], sum(&|it| it.proxy_headers.malformed)),
            ([("outcome", "missing")], sum(&|it| it.proxy_headers.missing)),
        ];
        out.counters("proxy_headers", "PROXY headers in front of connections", None, headers)?;

        write_gateway(&mut out, self.0.gateway.as_ref(), &workers)?;

        let expires = facts.certificate_expires.map(|expires| (NO_LABELS, expires));
        let help = "When the certificate expires, in seconds since 1970";
        out.gauges("certificate_expiry_timestamp", help, Some(&Unit::Seconds), expires)?;
        let needs = self.0.needs();
        let needs = Need::ALL.into_iter().filter_map(|need| {
            let is_met = i64::from(matches!(needs.get(&need)?, Condition::Met));
            Some(([("need", need.name())], is_met))
        });
        out.gauges("need_met", "1 if what the relay needs from others is there", None, needs)?;
        let secrets = facts.database_secrets.map(|count| (NO_LABELS, count as u64));
        out.gauges("database_secrets", "Secrets known from the database", None, secrets)?;
        let read = facts.database_read.map(|at| (NO_LABELS, at));
        let help = "When secrets were last read from the database, in seconds since 1970";
        out.gauges("database_read_timestamp", help, Some(&Unit::Seconds), read)?;
        let mapped = facts.mapped_addresses.map(|count| (NO_LABELS, count as u64));
        out.gauges(
            "mapped_addresses",
            "Announced addresses of which it is known who they are",
            None,
            mapped,
        )?;
        let reloads =
            [([("outcome", "applied")], facts.reloads), ([("outcome", "failed")], facts.failed_reloads)];
        out.counters("reloads", "Times that the configuration was read anew", None, reloads)?;
        let build = [([("version", env!("CARGO_PKG_VERSION"))], 1)];
        out.gauges("build_info", "1, with the version of this relay", None, build)
    }
}

impl Reader {
    /// How often each bound was met.
    fn write_limited(
        &self,
        out: &mut Writer<'_>,
        sum: &impl Fn(&dyn Fn(&Totals) -> u64) -> u64,
    ) -> fmt::Result {
        let of_workers = LIMITS.map(|(key, count)| (key, sum(&count)));
        let signalling = self.0.gateway.as_ref().map(|it| &*it.tally);
        let of_signalling = |pick: OfTally| signalling.map_or(0, |it| pick(it).load(Relaxed));
        let of_signalling = SIGNALLING_LIMITS.map(|(key, pick)| (key, of_signalling(pick)));
        let mut limited = BTreeMap::<_, u64>::new();
        for (key, count) in of_workers.into_iter().chain(of_signalling) {
            *limited.entry(key).or_default() += count;
        }
        let limited = limited.into_iter().map(|(key, count)| ([("limit", key)], count));
        out.counters("limited", LIMITED, None, limited)
    }
}

/// What is known of the gateway, if there is one.
fn write_gateway(out: &mut Writer<'_>, shared: Option<&Shared>, workers: &[Totals]) -> fmt::Result {
    let Some(Shared { directory, tally }) = shared else { return Ok(()) };
    let ways: Vec<Ways> = workers.iter().filter_map(|it| it.gateway).collect();
    let sum = |pick: &dyn Fn(&Ways) -> u64| ways.iter().map(pick).sum::<u64>();
    let count = |count: &AtomicU64| count.load(Relaxed);
    let transports = directory.transports() as u64;
    let help = "Dialog's transports that the gateway leads to at the moment";
    out.gauges("gateway_transports", help, None, [(NO_LABELS, transports)])?;
    let label = |name| [("transport", name)];
    let by_transport = |pick: &dyn Fn(&Ways) -> ByTransport| {
        [(label("udp"), sum(&|it| pick(it).udp)), (label("tcp"), sum(&|it| pick(it).tcp))]
    };
    let help = "Addresses of browsers that have a way to dialog at the moment";
    out.gauges("gateway_ways", help, None, by_transport(&|it| it.open))?;
    out.counters("gateway_opened_ways", "Ways opened so far", None, by_transport(&|it| it.opened))?;
    let labels = |direction, transport| [("direction", direction), ("transport", transport)];
    let traffic = |pick: fn(&crate::net::totals::Traffic) -> u64| {
        [
            (labels("to_dialog", "udp"), sum(&|it| pick(&it.to_dialog.udp))),
            (labels("to_dialog", "tcp"), sum(&|it| pick(&it.to_dialog.tcp))),
            (labels("to_browsers", "udp"), sum(&|it| pick(&it.to_browsers.udp))),
            (labels("to_browsers", "tcp"), sum(&|it| pick(&it.to_browsers.tcp))),
        ]
    };
    out.counters("gateway_packets", "Packets forwarded by the gateway", None, traffic(|it| it.packets))?;
    let help = "Bytes of packets forwarded by the gateway";
    out.counters("gateway_forwarded", help, Some(&Unit::Bytes), traffic(|it| it.bytes))?;
    let rejected = Rejected::ALL
        .map(|reason| ([("reason", reason.name())], sum(&|it| Counts::rejected(&it.counts, reason))));
    let help = "Packets that the gateway dropped, by what was wrong with them";
    out.counters("gateway_rejected", help, None, rejected)?;
    let help = "Ways that went on after a browser's address had changed";
    out.counters("gateway_take_overs", help, None, [(NO_LABELS, sum(&|it| it.counts.take_overs))])?;
    let help = "Ways given up because their address spoke of another transport";
    out.counters("gateway_repointed", help, None, [(NO_LABELS, sum(&|it| it.counts.repointed))])?;
    let help = "Sockets towards dialog that could not be opened";
    let unopened = sum(&|it| it.unopened_upstreams);
    out.counters("gateway_unopened_upstreams", help, None, [(NO_LABELS, unopened)])?;
    let connections = count(&tally.connections);
    let help = "Connections for signalling at the moment";
    out.gauges("gateway_signalling", help, None, [(NO_LABELS, connections)])?;
    let requests = [
        ([("outcome", "accepted")], count(&tally.accepted)),
        ([("outcome", "refused")], count(&tally.refused)),
        ([("outcome", "unreachable")], count(&tally.unreachable)),
    ];
    let help = "Requests for signalling, by what dialog made of them";
    out.counters("gateway_requests", help, None, requests)?;
    let help = "Answers of dialog's in which candidates were replaced";
    out.counters("gateway_rewritten", help, None, [(NO_LABELS, count(&tally.rewritten))])
}

type Labels<'v, const COUNT: usize> = [(&'v str, &'v str); COUNT];

const NO_LABELS: Labels<'_, 0> = [];

/// Writes metrics of which each value has its own labels. One without any value is left out.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn counters<'v, const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Labels<'v, LABELS>, u64)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in values {
            if LABELS == 0 {
                metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
                continue;
            }
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauges<'v, const LABELS: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Labels<'v, LABELS>, V)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in values {
            if LABELS == 0 {
                metric.encode_gauge(&value)?;
                continue;
            }
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}
