//! How many files this process may have open. Knows no connection.

use std::fs;

/// Where Linux says it; other systems do not, and nobody is warned there.
const LIMITS: &str = "/proc/self/limits";

/// What to warn of if `connections` at a time, each with so many `sockets`, may be too many.
pub(super) fn warning(connections: usize, sockets: usize) -> Option<String> {
    let limit = soft_limit(&fs::read_to_string(LIMITS).ok()?)?;
    let needed = connections.saturating_mul(sockets);
    (limit < needed).then(|| {
        format!(
            "{limit} files may be open at a time, and {connections} connections need {needed}: \
             raise it with ulimit -n or LimitNOFILE=, or lower --max-connections"
        )
    })
}

/// The soft limit in the text of [`LIMITS`].
fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_the_first_number() {
        let of =
            |line: &str| soft_limit(&format!("Limit  Soft Limit\n{line}\nMax locked memory 1 2"));
        assert_eq!(
            of("Max open files            1024                 524288       files"),
            Some(1024)
        );
        assert_eq!(of("Max open files            unlimited  unlimited    files"), Some(usize::MAX));
        assert_eq!(of("Max processes  1 2"), None);
    }

    #[test]
    fn too_many_connections_are_warned_of() {
        assert_eq!(warning(0, 2), None);
        let text = warning(usize::MAX / 4, 3);
        assert!(text.is_none_or(|text| text.contains("LimitNOFILE")));
    }
}
