//! Signals, and what a supervisor hears.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

use crate::scene::{CLEAR, FRESH, SEALED, Scene, Subscriber};
use crate::support::DEADLINE;

/// The next that a supervisor is told.
fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let len = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

#[test]
fn a_supervisor_hears_of_start_reload_and_end() {
    let scene = Scene::new(SEALED);
    let path = scene.file("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let proxy = scene.proxy_told(&[], Some(&path));
    assert_eq!(heard(&socket), "READY=1\n");
    // it listens by then
    TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    proxy.signal("-HUP");
    let reloading = heard(&socket);
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.trim_end().parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(heard(&socket), "READY=1\n");
    proxy.signal("-TERM");
    assert_eq!(heard(&socket), "STOPPING=1\n");
    assert!(proxy.ended().success());
}

#[test]
fn interrupt_ends_it_as_terminate_does() {
    let scene = Scene::new(SEALED);
    let proxy = scene.proxy(&[]);
    let _subscriber = Subscriber::start(&scene, proxy.port(), "stays", "sensor/#", "%p");
    proxy.signal("-INT");
    assert!(proxy.ended().success());
}

#[test]
fn hangup_puts_other_rules_in_force() {
    let scene = Scene::new(CLEAR);
    let proxy = scene.proxy(&[]);
    let watcher = Subscriber::start(&scene, scene.broker.tcp_port(), "broker", "sensor/#", "%x");
    assert!(proxy.publish("sensor/temp", b"27", &[]));
    assert_eq!(watcher.lines(1)[0], "3237");
    scene.write_policy(SEALED);
    proxy.signal("-HUP");
    proxy.wait_for_log("rules and keys reloaded");
    assert!(proxy.publish("sensor/temp", b"27", &[]));
    let sealed = &watcher.lines(2)[1];
    assert!(sealed.starts_with("fc"), "{sealed}");
}

#[test]
fn a_bad_policy_leaves_the_old_one_in_force_and_is_told() {
    let scene = Scene::new(SEALED);
    let proxy = scene.proxy(&["--log", "json"]);
    let watcher = Subscriber::start(&scene, scene.broker.tcp_port(), "broker", "sensor/#", "%x");
    for (bad, told) in [
        ("[[rule]]\ntopic = [\"sensor/#\"]\n", "policy.toml:2:1: unknown key"),
        // whoever gets at the file may not take the seal off
        (CLEAR, "not reloaded: rule 1"),
    ] {
        scene.write_policy(bad);
        proxy.signal("-HUP");
        proxy.wait_for_log(told);
    }
    let log = proxy.log();
    let events = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let errors: Vec<_> = events.filter(|event| event["level"] == "ERROR").collect();
    assert_eq!(errors.len(), 2, "{log}");
    assert_eq!(errors[0]["fix"], "did you mean \"topics\"?");
    assert!(proxy.publish("sensor/temp", b"27", &[]));
    assert!(watcher.lines(1)[0].starts_with("fc"));
}

#[test]
fn keys_are_read_again_with_the_rules() {
    let scene = Scene::new(SEALED);
    let proxy = scene.proxy(&[]);
    std::fs::remove_file(scene.file("keys.toml")).unwrap();
    proxy.signal("-HUP");
    proxy.wait_for_log("keys.toml: there is no such key file");
    assert!(proxy.publish("sensor/temp", b"27", &[]), "the old keys hold: {}", proxy.log());
}

#[test]
fn the_first_command_under_a_fresh_rule_arrives() {
    let scene = Scene::new(FRESH);
    let proxy = scene.proxy(&[]);
    let subscriber = Subscriber::start(&scene, proxy.port(), "lock", "lock/set", "%p");
    assert!(proxy.publish("lock/set", b"open", &[]));
    assert_eq!(subscriber.lines(1), ["open"]);
}
