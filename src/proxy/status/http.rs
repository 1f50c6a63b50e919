//! A request to its answer. Knows no sockets.

use std::string::{String, ToString as _};
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::{json, metrics, page};
use crate::proxy::Core;

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
/// `OpenMetrics`, which Prometheus and those that read its format take.
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Headers of every answer. Nothing is given to pages of others: there is no CORS here.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// An answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers a request, whatever body it has.
pub(super) fn answer<B>(core: &Arc<Core>, request: &Request<B>) -> Answer {
    // a name of somebody else that leads here is a web page's way in
    if !is_local(request) {
        return text(StatusCode::FORBIDDEN, "ask for 127.0.0.1, [::1] or localhost\n");
    }
    if request.method() != Method::GET {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "ask with GET\n");
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    match request.uri().path() {
        "/" => html(),
        "/status.json" => reply(StatusCode::OK, JSON, json::status(core).to_string()),
        "/metrics" => metrics::text(core).map_or_else(
            |_| text(StatusCode::INTERNAL_SERVER_ERROR, "no metrics\n"),
            |metrics| reply(StatusCode::OK, METRICS, metrics),
        ),
        "/healthz" => health(core),
        _ => text(StatusCode::NOT_FOUND, "there are /, /status.json, /metrics and /healthz\n"),
    }
}

fn health(core: &Core) -> Answer {
    if core.keeper.as_ref().is_some_and(|keeper| !keeper.works()) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be written\n");
    }
    if core.vouching.as_ref().is_some_and(|vouching| vouching.is_refused()) {
        return text(StatusCode::SERVICE_UNAVAILABLE, "nobody vouches for the broker\n");
    }
    text(StatusCode::OK, "ok\n")
}

fn html() -> Answer {
    let page = page::page();
    let mut answer = reply(StatusCode::OK, HTML, page.html.clone());
    if let Ok(policy) = HeaderValue::from_str(&page.policy) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn text(status: StatusCode, text: &'static str) -> Answer {
    reply(status, TEXT, text)
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    // overwritten by the page's own
    let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// Whether everything that names a host names this machine's own, and something does.
fn is_local<B>(request: &Request<B>) -> bool {
    let authority = request.uri().authority().map(|authority| authority.as_str().into());
    let mut names = named(request.headers()).chain(authority).peekable();
    names.peek().is_some() && names.all(|name: String| is_loopback(&name))
}

/// The `Host` of a request: what is no text is nobody's.
fn named(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let hosts = headers.get_all(header::HOST).into_iter();
    hosts.map(|host| host.to_str().unwrap_or_default().into())
}

/// Whether `host`, with or without a port, is a loopback address or `localhost`.
fn is_loopback(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return false };
        let address = address.parse::<core::net::Ipv6Addr>();
        return is_port(port) && address.is_ok_and(|address| address.to_canonical().is_loopback());
    }
    let end = host.find(':').unwrap_or(host.len());
    let (name, port) = host.split_at(end);
    let address = name.parse::<core::net::Ipv4Addr>();
    let local = name.eq_ignore_ascii_case("localhost");
    is_port(port) && (local || address.is_ok_and(|address| address.is_loopback()))
}

/// Nothing, or a colon and a number.
fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    use crate::proxy::keeper::Keeper;
    use crate::proxy::status::tests::{core, core_after};
    use crate::proxy::vouch::tests::{AWAY, NOT_VOUCHED, SILENT};
    use crate::store::outbox_file::OutboxFile;

    fn ask(method: &str, path: &str, hosts: &[&str]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for host in hosts {
            request = request.header("host", *host);
        }
        answer(&core(""), &request.body(()).unwrap())
    }

    #[test]
    fn only_loopback_hosts_are_answered() {
        let hosts =
            ["localhost", "LOCALHOST:1", "127.0.0.1:9090", "127.9.9.9", "[::1]:80", "[::1]"];
        for host in hosts {
            assert_eq!(ask("GET", "/healthz", &[host]).status(), StatusCode::OK, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "evil.example:127.0.0.1",
            "127.0.0.1.nip.io",
            "127.1",
            "2130706433",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "[::1]x",
            "localhost:x",
            "localhost:",
            "user@localhost",
            "",
        ] {
            assert_eq!(ask("GET", "/healthz", &[host]).status(), StatusCode::FORBIDDEN, "{host}");
        }
    }

    #[test]
    fn a_request_without_host_or_with_another_beside_is_refused() {
        for hosts in [Vec::new(), Vec::from(["localhost", "evil.example"])] {
            assert_eq!(ask("GET", "/", &hosts).status(), StatusCode::FORBIDDEN, "{hosts:?}");
        }
        let absolute = ask("GET", "http://evil.example/", &["localhost"]);
        assert_eq!(absolute.status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn other_methods_than_get_are_refused() {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"] {
            let answer = ask(method, "/", &["localhost"]);
            assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
            assert_eq!(answer.headers().get("allow").unwrap(), "GET");
        }
    }

    #[test]
    fn health_ends_with_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let file = OutboxFile::open(folder.path().join("outbox")).unwrap();
        let works = Keeper::start(file, 0).unwrap();
        for (keeper, status) in
            [(works, StatusCode::OK), (Keeper::failed(), StatusCode::SERVICE_UNAVAILABLE)]
        {
            let mut core = core("");
            Arc::get_mut(&mut core).unwrap().keeper = Some(Arc::new(keeper));
            let request = Request::get("/healthz").header("host", "localhost").body(()).unwrap();
            assert_eq!(answer(&core, &request).status(), status);
        }
    }

    #[test]
    fn health_ends_while_nobody_vouches_for_the_broker() {
        for (outcomes, status) in [
            (vec![], StatusCode::OK),
            (vec![Err(NOT_VOUCHED)], StatusCode::SERVICE_UNAVAILABLE),
            (vec![Err(SILENT)], StatusCode::SERVICE_UNAVAILABLE),
            (vec![Err(NOT_VOUCHED), Ok(())], StatusCode::OK),
            // as for every proxy
            (vec![Err(AWAY)], StatusCode::OK),
        ] {
            let request = Request::get("/healthz").header("host", "localhost").body(()).unwrap();
            assert_eq!(answer(&core_after("", &outcomes), &request).status(), status);
        }
    }

    #[test]
    fn unknown_paths_are_not_found() {
        for path in ["/status", "/../etc/passwd", "//", "/metrics/"] {
            assert_eq!(ask("GET", path, &["localhost"]).status(), StatusCode::NOT_FOUND, "{path}");
        }
    }

    #[test]
    fn no_answer_is_for_pages_of_others() {
        for path in ["/", "/status.json", "/metrics", "/healthz", "/none"] {
            let answer = ask("GET", path, &["localhost"]);
            let headers = answer.headers();
            assert!(!headers.keys().any(|name| name.as_str().starts_with("access-control")));
            assert_eq!(headers.get("x-content-type-options").unwrap(), "nosniff");
            assert_eq!(headers.get("cross-origin-resource-policy").unwrap(), "same-origin");
            assert_eq!(headers.get("cache-control").unwrap(), "no-store");
            let policy = headers.get("content-security-policy").unwrap().to_str().unwrap();
            assert!(policy.contains("default-src 'none'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
        }
    }
}
