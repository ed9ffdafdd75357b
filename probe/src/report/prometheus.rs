//! The report as metrics, for the textfile collector of Prometheus' node exporter. Labels are codes, checks and the domain: what servers say,
//! and addresses, stay out, so that the number of series is bounded.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::{End, Report};
use crate::{diagnose::Outcome, finding::Status};

/// The document, ending with a line break.
pub fn render(report: &Report) -> String {
    let domain = (Cow::Borrowed("domain"), Cow::Owned(report.target.clone()));
    let mut registry = Registry::with_prefix_and_labels("hubs_probe", [domain].into_iter());
    registry.register_collector(Box::new(Reader(report.clone())));
    let mut document = String::new();
    // Writing to memory does not fail.
    let _ = text::encode(&mut document, &registry);
    document
}

#[derive(Debug)]
struct Reader(Report);

const STATUSES: [Status; 5] = [Status::Pass, Status::Warn, Status::Fail, Status::Skip, Status::Error];

impl Collector for Reader {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let report = &self.0;
        let mut out = Writer(encoder);
        let outcomes = [Outcome::Good, Outcome::Broken, Outcome::Inconclusive].map(|outcome| {
            let word = match outcome {
                Outcome::Good => "good",
                Outcome::Broken => "broken",
                Outcome::Inconclusive => "inconclusive",
            };
            ([("outcome", word.to_owned())], u64::from(outcome == report.verdict.outcome))
        });
        out.gauges("outcome", "1 for what the last run amounts to", None, outcomes)?;

        let mut findings = BTreeMap::<_, u64>::new();
        let mut durations = BTreeMap::new();
        for finding in &report.findings {
            // Of each code every status is there, so that an alert ends when it is mended.
            for status in STATUSES {
                let is_so = status == finding.status && finding.suppressed.is_none();
                *findings.entry((finding.code, finding.check, status)).or_default() += u64::from(is_so);
            }
            durations.insert(finding.check, finding.duration.as_secs_f64());
        }
        let findings = findings.into_iter().map(|((code, check, status), count)| {
            let code = ("code", code.to_string());
            ([("check", check.to_owned()), code, ("status", status.word().to_owned())], count)
        });
        out.gauges("findings", "Findings by code and status", None, findings)?;
        let suppressed = [([], report.suppressed() as u64)];
        out.gauges("suppressed", "Findings that are known and do not count", None, suppressed)?;

        let diagnoses = report.diagnoses.iter().map(|d| {
            let rule = ("rule", d.rule.to_owned());
            let confidence = ("confidence", d.confidence.word().to_owned());
            ([("code", d.cause.code.to_string()), rule, confidence], u64::from(!d.suppressed))
        });
        let mut diagnoses: Vec<_> = diagnoses.collect();
        // A rule can find the same code twice, once suppressed: then the other one counts.
        diagnoses.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
        diagnoses.dedup_by(|later, first| later.0 == first.0);
        out.gauges(
            "diagnosis",
            "1 for each cause that the last run found, 0 if it is suppressed",
            None,
            diagnoses,
        )?;

        let durations = durations.into_iter().map(|(check, s)| ([("check", check.to_owned())], s));
        out.gauges("check_duration", "How long each check took", Some(&Unit::Seconds), durations)?;
        let took = (report.finished - report.started).as_seconds_f64();
        out.gauges("run_duration", "How long the last run took", Some(&Unit::Seconds), [([], took)])?;
        let complete = u64::from(report.end == End::Complete);
        out.gauges("run_complete", "1 if every check of the last run ended", None, [([], complete)])?;
        let finished = report.finished.unix_timestamp();
        let help = "When the last run ended, in seconds since 1970";
        out.gauges("last_run_timestamp", help, Some(&Unit::Seconds), [([], finished)])?;
        let build = [([("version", env!("CARGO_PKG_VERSION").to_owned())], 1_u64)];
        out.gauges("build_info", "1, with the version of hubs-probe", None, build)
    }
}

/// Writes metrics of which each value has its own labels. One without any value is left out.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauges<const LABELS: usize, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = ([(&'static str, String); LABELS], V)>,
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

#[cfg(test)]
mod tests {
    use prometheus_parse::{Scrape, Value};

    use super::*;
    use crate::report::tests::{hostile, repaired, with_everything};

    fn scraped(report: &Report) -> Scrape {
        let text = render(report);
        Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
    }

    fn value(scrape: &Scrape, metric: &str, label: (&str, &str)) -> Option<f64> {
        let sample =
            scrape.samples.iter().find(|s| s.metric == metric && s.labels.get(label.0) == Some(label.1))?;
        match sample.value {
            Value::Gauge(value) | Value::Untyped(value) => Some(value),
            _ => None,
        }
    }

    #[test]
    fn another_parser_reads_it() {
        let scrape = scraped(&with_everything());
        assert_eq!(value(&scrape, "hubs_probe_outcome", ("outcome", "broken")), Some(1.0));
        assert_eq!(value(&scrape, "hubs_probe_outcome", ("outcome", "good")), Some(0.0));
        assert_eq!(value(&scrape, "hubs_probe_diagnosis", ("code", "HP0204")), Some(1.0));
        let of_domain = ("domain", "hubs.example.org");
        assert_eq!(value(&scrape, "hubs_probe_last_run_timestamp_seconds", of_domain), Some(1_795_347_001.0));
        assert!(scrape.samples.iter().all(|s| s.labels.get("domain") == Some("hubs.example.org")));
        assert_eq!(value(&scraped(&repaired()), "hubs_probe_outcome", ("outcome", "good")), Some(1.0));
    }

    #[test]
    fn no_series_depends_on_what_a_server_says() {
        let text = render(&hostile());
        assert!(!text.contains("evil") && !text.contains("script"), "{text}");
        let series = |report| scraped(report).samples.len();
        let mut twice = hostile();
        twice.findings.extend(hostile().findings);
        assert_eq!(series(&twice), series(&hostile()));
    }

    #[test]
    fn the_document_reads_so() {
        insta::assert_snapshot!(render(&with_everything()));
    }
}
