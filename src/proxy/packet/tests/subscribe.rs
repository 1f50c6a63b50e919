use super::*;

const FILTERS: [(&str, u8); 3] = [("sealed/#", 1), ("+/b", 0x2E), ("c", 0)];

fn filters(some: &[(&str, u8)]) -> Vec<u8> {
    let one = |(filter, options): &(&str, u8)| [lp(filter.as_bytes()), vec![*options]].concat();
    some.iter().flat_map(one).collect()
}

fn subscribe(version: Version, some: &[(&str, u8)]) -> Vec<u8> {
    packet(0x82, &[&[0, 9], &about(version, &[0x0B, 5]), &filters(some)])
}

#[test]
fn a_subscribe_has_its_filters_in_order() {
    for version in VERSIONS {
        let bytes = subscribe(version, &FILTERS);
        let subscribe = Subscribe::parse(&whole(&bytes), version).unwrap();
        let parsed: Vec<_> = FILTERS.iter().map(|(f, o)| (f.as_bytes(), *o)).collect();
        assert_eq!((subscribe.id, subscribe.filters), (9, parsed));
        assert_eq!(subscribe.properties.number(0x0B), version.is_5().then_some(5));
    }
}

#[test]
fn a_subscribe_cut_within_a_filter_or_without_any_is_malformed() {
    for version in VERSIONS {
        let bytes = subscribe(version, &FILTERS[..1]);
        let body = whole(&bytes).body;
        for cut in 0..body.len() {
            let bytes = packet(0x82, &[&body[..cut]]);
            assert_eq!(Subscribe::parse(&whole(&bytes), version), Err(Malformed), "{cut}");
        }
        let bytes = packet(0x82, &[&[0, 0], &body[2..]]);
        assert_eq!(Subscribe::parse(&whole(&bytes), version), Err(Malformed));
    }
}

#[test]
fn a_subscribe_is_written_with_the_filters_that_are_kept() {
    for version in VERSIONS {
        let bytes = subscribe(version, &FILTERS);
        let parsed = Subscribe::parse(&whole(&bytes), version).unwrap();
        for kept in 0_u32..8 {
            let keeps = |at: usize| kept & (1 << at) != 0;
            let mut written = vec![];
            parsed.write_some(version, keeps, &mut written);
            let left: Vec<_> = (0..3).filter(|at| keeps(*at)).map(|at| FILTERS[at]).collect();
            assert_eq!(written, subscribe(version, &left), "{kept:b}");
        }
    }
}

#[test]
fn a_suback_is_written_with_other_answers_alone() {
    for version in VERSIONS {
        let why = about(version, &[vec![0x1F], lp(b"why")].concat());
        let bytes = packet(0x90, &[&[0, 9], &why, &[0, 1, 0x80]]);
        let suback = Suback::parse(&whole(&bytes), version).unwrap();
        assert_eq!((suback.id, suback.reasons), (9, &[0, 1, 0x80][..]));
        let mut written = vec![];
        suback.write_with(version, &[2; 300], &mut written);
        assert_eq!(written, packet(0x90, &[&[0, 9], &why, &[2; 300]]));
    }
}

#[test]
fn a_suback_cut_before_its_answers_is_malformed() {
    for version in VERSIONS {
        let bytes = packet(0x90, &[&[0, 9], &about(version, &[0x26, 0, 0, 0, 0])]);
        let body = whole(&bytes).body;
        for cut in 0..body.len() {
            let bytes = packet(0x90, &[&body[..cut]]);
            assert_eq!(Suback::parse(&whole(&bytes), version), Err(Malformed), "{cut}");
        }
        assert!(Suback::parse(&whole(&bytes), version).is_ok());
    }
}

#[test]
fn a_suback_of_the_proxy_alone_has_an_id_and_answers() {
    for version in VERSIONS {
        let mut written = vec![];
        Suback::own(0x0102).write_with(version, &[0x87], &mut written);
        assert_eq!(written, packet(0x90, &[&[1, 2], &about(version, &[]), &[0x87]]));
    }
}
