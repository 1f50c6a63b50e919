//! The page itself: one file that asks for nothing but `/status.json`, and the policy that keeps it
//! to that. Knows no numbers.

use std::format;
use std::string::String;
use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha256};

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// What stands for the two in the text.
const STYLE_HERE: &str = "/* style */";
const SCRIPT_HERE: &str = "/* script */";

/// The page, and the `Content-Security-Policy` that lets nothing run or load but what is in it.
pub(super) struct Page {
    pub(super) html: String,
    pub(super) policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
    html: HTML.replace(STYLE_HERE, STYLE).replace(SCRIPT_HERE, SCRIPT),
    policy: format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'",
        hash(SCRIPT),
        hash(STYLE),
    ),
});

pub(super) fn page() -> &'static Page {
    &PAGE
}

// CSP 3, §2.3.1, hash-source
fn hash(text: &str) -> String {
    format!("sha256-{}", Base64::encode_string(&Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody_else() {
        let html = &page().html;
        assert!(html.contains(STYLE) && html.contains(SCRIPT));
        for foreign in ["http:", "https:", "//cdn", "src=", "@import", "url("] {
            assert!(!html.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_script_makes_no_markup_of_text() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }

    #[test]
    fn style_and_script_are_let_in_by_their_hashes() {
        let policy = &page().policy;
        assert!(policy.contains(&hash(SCRIPT)) && policy.contains(&hash(STYLE)), "{policy}");
        assert_ne!(hash(SCRIPT), hash(STYLE));
    }

    #[test]
    fn the_policy_lets_nothing_else_in() {
        let sources = page().policy.split(';').flat_map(|part| part.split_whitespace().skip(1));
        for source in sources {
            let known = ["'none'", "'self'", "'script'"].contains(&source);
            assert!(known || source.starts_with("'sha256-"), "{source}");
        }
    }
}
