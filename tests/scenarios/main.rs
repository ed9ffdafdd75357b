//! What crosses crates, processes or sockets: one module for each behaviour.

#![allow(clippy::unwrap_used, reason = "a scenario ends where something is wrong")]

mod aioice_keeps_its_allocation_as_long_as_it_refreshes;
mod browsers_hear_each_other;
mod browsers_refuse_shipped_turn;
mod gateway_carries_calls;
mod gateway_tells_rooms_apart;
mod lab;
mod probe_hears_itself;
mod probe_loses_no_output;
mod probe_names_the_cause;
mod probe_reads_a_cluster;
mod probe_reads_azure_through_az;
mod probe_reads_files;
mod probe_reports_when_interrupted;
mod probe_survives_hostile_servers;
mod probe_sweeps_each_port;
mod relay_asks_dialog_what_it_announces;
mod relay_behind_haproxy;
mod relay_differs_from_coturn_where_the_rfc_says_so;
mod relay_drains_without_loss;
mod relay_keeps_packets_whole_where_asked;
mod relay_reaches_nobody_that_is_not_allowed;
mod relay_reads_rotating_secrets;
mod relay_reloads_under_load;
mod relay_soaks;
mod relay_survives_hostile_clients;
mod turn_client_proto_talks_through_the_relay;
mod turnutils_relay_without_loss;
mod watch_shows_paths_live;

const PROBE: &str = env!("CARGO_BIN_EXE_hubs-probe-under-test");
const RELAY: &str = env!("CARGO_BIN_EXE_hubs-relay-under-test");
