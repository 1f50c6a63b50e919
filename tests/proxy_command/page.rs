//! The status page in a browser.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::scene::{SEALED, Scene, Subscriber};

const HOSTILE: &str = "other/<img src=x onerror=alert(1)>";

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut programs = std::env::split_paths(&path).map(|folder| folder.join("chromium"));
    programs.find(|file| file.is_file()).unwrap_or_else(|| {
        panic!(
            "chromium is not installed; run `scripts/check install`, or `apt-get install chromium`"
        )
    })
}

/// What a browser makes of the page at `url`, its script run.
fn dom(url: &str) -> String {
    let profile = TempDir::new().unwrap();
    let output = Command::new("timeout")
        .arg("60")
        .arg(chromium())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=3000", "--dump-dom", url])
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The texts of the cells of each row of a table.
fn rows(dom: &str, table: &str) -> Vec<Vec<String>> {
    let (_, rest) = dom.split_once(&format!("<table id=\"{table}\"")).unwrap();
    let (_, rest) = rest.split_once("<tbody>").unwrap();
    let (body, _) = rest.split_once("</tbody>").unwrap();
    let texts = |row: &str| row.split("</td>").map(text).collect::<Vec<_>>();
    body.split("</tr>").map(texts).filter(|cells| cells.len() > 1).collect()
}

/// Markup without its tags, as it is read.
fn text(markup: &str) -> String {
    let mut text = String::new();
    for part in markup.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// A proxy through which a sealed message went, and one that no rule is for.
fn busy(scene: &Scene, args: &[&str]) -> (crate::scene::Proxy, Subscriber) {
    let proxy = scene.proxy(&[&["--status", "127.0.0.1:0"], args].concat());
    let subscriber = Subscriber::start(scene, proxy.port(), "dashboard", "sensor/#", "%p");
    assert!(proxy.publish("sensor/temp", b"marker of a payload", &["-i", "pump"]));
    assert_eq!(subscriber.lines(1), ["marker of a payload"]);
    // version 5 says that it was refused
    proxy.publish(HOSTILE, b"1", &["-i", "evil", "-V", "5"]);
    proxy.wait_for_log("Refused");
    (proxy, subscriber)
}

#[test]
fn the_page_shows_messages_rules_connections_and_rejections() {
    let scene = Scene::new(SEALED);
    let (proxy, _subscriber) = busy(&scene, &["--status-payloads"]);
    let dom = dom(&proxy.page());
    assert!(dom.contains(">live<"), "{dom}");
    let messages = rows(&dom, "messages");
    assert_eq!(messages.len(), 2, "{messages:?}");
    for (message, way) in messages.iter().zip(["→ client", "→ broker"]) {
        assert_eq!((message[1].as_str(), message[2].as_str()), (way, "sensor/temp"));
        assert!(message[3].starts_with("fc") && message[3].contains(" bytes"), "{message:?}");
        assert!(message[4].starts_with("marker of a payload"), "{message:?}");
    }
    let rules = rows(&dom, "rules");
    assert_eq!(rules[0][..5], ["1", "sensor/#", "sealed", "1", "1"]);
    assert_eq!(rules[0][7], "1 new");
    assert_eq!(rules[1][8], "1 Refused → broker");
    let connections = rows(&dom, "connections");
    let dashboard = connections.iter().find(|row| row[0] == "dashboard").unwrap();
    assert_eq!((dashboard[1].as_str(), dashboard[4].as_str()), ("5.0", "1"));
}

#[test]
fn a_hostile_topic_is_text_and_payloads_are_hidden_unless_asked_for() {
    let scene = Scene::new(SEALED);
    let (proxy, _subscriber) = busy(&scene, &[]);
    let dom = dom(&proxy.page());
    let rejections = rows(&dom, "rejections");
    assert_eq!(rejections[0][2..5], ["evil", HOSTILE, "Refused"]);
    assert!(!dom.contains("<img"), "{dom}");
    assert!(dom.contains("&lt;img src=x onerror"), "{dom}");
    assert!(!dom.contains("marker of a payload"), "{dom}");
    assert!(rows(&dom, "messages")[0][4].starts_with("19 bytes"), "{dom}");
}
