//! Of each deployment under `tests/lab`, broken or not, `hubs-probe check` says from a laptop at home what the file says
//! that it has to.

use std::collections::BTreeSet;
use std::fs;

use hubs_tests::lab::{Lab, Scenario};
use hubs_tests::need::{self, skip};

/// A test for each file.
macro_rules! scenarios {
    ($($name:ident,)*) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),*];

        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*
    };
}

scenarios! {
    a_certificate_of_the_future,
    a_certificate_that_turn_did_not_reload,
    a_certificate_that_vouches_for_another_name,
    a_chain_that_is_not_complete,
    a_check_from_which_mail_is_left_out,
    a_company_network_without_udp,
    a_company_that_opens_tls,
    a_healthy_deployment_is_all_green,
    a_hotel_that_wants_a_login,
    a_laptop_whose_clock_is_wrong,
    a_name_that_moved_and_is_remembered,
    a_network_that_lets_out_web_pages_only,
    a_network_with_both_families,
    a_network_with_ipv6_only,
    a_proxy_that_is_named_on_the_laptop,
    a_record_that_forbids_the_next_certificates,
    a_record_with_the_domain_twice,
    a_relay_that_does_not_know_what_dialog_announces,
    a_relay_that_sends_to_another_node,
    a_relay_with_the_certificate_of_the_image,
    a_resolver_at_home_that_says_otherwise,
    a_room_that_does_not_exist,
    a_room_that_is_closed,
    a_router_that_forgets_what_is_silent,
    a_rule_that_another_comes_before,
    a_rule_that_was_taken_out,
    a_security_group_admits_everything,
    a_security_group_admits_half_of_the_ports,
    a_security_group_admits_no_media,
    a_security_group_admits_tcp_in_the_place_of_udp,
    a_security_group_admits_the_ports_of_the_manual,
    a_security_group_denies_signalling,
    a_server_of_the_zone_that_is_out_of_date,
    a_server_that_accepts_and_says_nothing,
    a_subnet_that_lacks_the_rule_of_its_nodes,
    a_tenth_of_all_datagrams_is_lost,
    a_third_of_all_datagrams_is_lost,
    a_turn_server_that_says_nothing,
    a_turn_user_who_is_given_by_hand,
    a_wildcard_in_the_place_of_a_name,
    all_certificates_ran_out,
    an_alias_that_ends_nowhere,
    an_authority_that_nobody_knows,
    an_ipv6_address_at_which_nobody_is,
    an_own_subnet_with_the_rule_in_both_groups,
    both_a_missing_name_and_turn_down,
    both_a_network_without_udp_and_nothing_in_coturns_place,
    both_a_text_for_an_address_and_the_certificate_of_the_image,
    both_certificates_that_ran_out_and_reticulum_down,
    both_another_key_and_a_certificate_that_turn_did_not_reload,
    both_dialog_down_and_another_secret,
    both_the_default_certificate_and_coturn_as_shipped,
    both_turn_not_forwarded_and_no_media_admitted,
    certificates_that_run_out_soon,
    coturn_as_shipped_on_nodes_with_public_addresses,
    coturn_mended_on_dialogs_node,
    coturn_on_another_node_than_dialog,
    coturn_that_does_not_find_its_database,
    coturn_that_does_not_find_its_table,
    credentials_that_are_old_when_they_are_new,
    dialog_announces_a_node_that_is_gone,
    dialog_announces_a_private_address,
    dialog_announces_a_text,
    dialog_announces_nothing,
    dialog_announces_the_load_balancer,
    dialog_cannot_read_its_key,
    dialog_does_not_run,
    dialog_hangs,
    dialog_has_no_port_left,
    dialog_listens_where_its_node_is_not,
    dialog_takes_its_ports_elsewhere,
    dialogs_port_shows_an_old_certificate,
    half_of_the_connections_are_lost,
    haproxy_does_not_run,
    haproxy_prefers_the_default_certificate_for_the_domain,
    haproxy_shows_the_default_certificate_everywhere,
    hubs_as_shipped_on_aks,
    hubs_relay_heals_hubs_on_aks,
    login_mail_through_azure,
    login_mail_with_the_domain_twice,
    no_name_has_an_address,
    no_room_was_named,
    nothing_in_coturns_place,
    one_certificate_was_not_renewed,
    pods_on_a_bridge_of_the_node,
    reticulum_does_not_run,
    reticulum_hangs,
    reticulum_signs_permissions_with_another_key,
    reticulum_signs_with_another_secret,
    rooms_without_turn,
    signatures_of_the_zone_that_do_not_hold,
    six_hundred_milliseconds_away,
    the_clock_of_dialog_is_ahead,
    the_clock_of_reticulum_is_ahead,
    the_gateway_takes_calls_over_one_port,
    the_gateway_that_sends_where_dialog_is_not,
    the_gateway_whose_udp_port_is_not_forwarded,
    the_gateway_without_dialog_behind_it,
    the_load_balancer_does_not_forward_signalling,
    the_load_balancer_does_not_forward_turn,
    the_load_balancer_forgets_what_is_silent,
    the_manifest_is_given_and_has_what_hubs_ships,
    the_manifest_is_given_and_was_not_applied,
    the_name_of_the_cors_proxy_is_missing,
    the_ports_of_turn_are_dialogs,
    the_rules_are_given_and_admit_no_media,
    the_rules_are_given_and_are_not_those_in_effect,
    the_rules_are_given_and_deny_signalling,
    the_rules_are_given_and_deny_the_gateway,
    the_rules_are_given_and_name_the_wrong_destination,
    the_rules_are_given_and_open_what_nothing_forwards,
    the_rules_are_given_and_the_subnet_lacks_the_copy,
    the_rules_are_given_and_turn_is_not_forwarded,
    the_secret_of_turn_is_given_by_hand,
    two_gateways_behind_one_service,
}

#[test]
fn each_file_of_the_lab_is_played() {
    let files = fs::read_dir(need::tests_folder().join("lab")).unwrap();
    let names = files.filter_map(|file| {
        let name = file.unwrap().file_name().into_string().unwrap();
        name.strip_suffix(".toml").map(str::to_owned)
    });
    let played = SCENARIOS.iter().map(ToString::to_string);
    assert_eq!(played.collect::<BTreeSet<_>>(), names.collect());
}

fn play(name: &str) {
    if skip(&[need::NETWORKS, need::BED, need::COTURN, need::PGBOUNCER, need::CLOCK]) {
        return;
    }
    let scenario = Scenario::read(name);
    let mut lab = Lab::start(&scenario, crate::RELAY);
    lab.check_before(&scenario, crate::PROBE);
    scenario.expect.compare(&lab.check(crate::PROBE));
}
