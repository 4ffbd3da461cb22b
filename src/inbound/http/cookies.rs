//! The two cookies of a person: of a browser that is on its way to sign in, and of one that has come back.
//!
//! Guarantees: scripts do not see them, other sites do not send them with a POST, and where browsers come over TLS no other
//! host of the domain can set them (`__Host-`, RFC 6265bis 4.1.3.2).

use actix_web::HttpRequest;
use actix_web::http::header::{COOKIE, HOST, HeaderMap, ORIGIN};

/// Left with it, comes back with it.
pub const ON_ITS_WAY: &str = "ers-sign-in";
/// Whose browser it is.
pub const PERSON: &str = "ers-person";
const COOKIE_BYTES_MAX: usize = 200;

/// Of both, the names where browsers come over TLS and where they are on this machine.
fn name(cookie: &str, is_tls: bool) -> String {
    if is_tls { format!("__Host-{cookie}") } else { cookie.to_owned() }
}

/// For `Set-Cookie`: until then, for the whole of this host.
pub fn set(cookie: &str, value: &str, seconds: i64, is_tls: bool) -> String {
    let secure = if is_tls { "; Secure" } else { "" };
    let seconds = seconds.max(0);
    // Lax: whoever comes back from signing in comes from another site.
    format!("{}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}", name(cookie, is_tls))
}

/// For `Set-Cookie`: no more.
pub fn unset(cookie: &str, is_tls: bool) -> String {
    set(cookie, "", 0, is_tls)
}

/// A cookie that a browser sent, if it sent one and only one.
pub fn get(request: &HttpRequest, cookie: &str, is_tls: bool) -> Option<String> {
    let wanted = name(cookie, is_tls);
    let lines = request.headers().get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| value.trim());
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() && value.len() <= COOKIE_BYTES_MAX => Some(value.to_owned()),
        _ => None,
    }
}

/// Whether a page of another site asks, in somebody's browser.
pub fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // Where the browser says it there is nothing to guess: an origin may be `null` for its own pages.
    if let Some(site) = text("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = text(ORIGIN.as_str()) else { return false };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_none() || host != text(HOST.as_str())
}

/// Whether a browser asks for a part of a page (an image, a frame), and not because somebody goes there.
pub fn is_for_a_part(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|wanted| wanted != "document")
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_cookie_is_read_if_it_is_there_once() {
        for (line, value) in [
            ("a=1; __Host-ers-person=x; b=2", Some("x")),
            ("__Host-ers-person=x; __Host-ers-person=y", None),
            ("ers-person=x", None),
            ("__Host-ers-person=", None),
            ("", None),
        ] {
            let request = TestRequest::default().insert_header((COOKIE, line)).to_http_request();
            assert_eq!(get(&request, PERSON, true).as_deref(), value, "{line}");
        }
    }

    #[test]
    fn another_sites_page_is_told_apart() {
        for (headers, elsewhere) in [
            (vec![], false),
            (vec![("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "cross-site")], true),
            (vec![("sec-fetch-site", "same-site")], true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "null"), ("host", "gateway.test")], false),
            (vec![("origin", "https://gateway.test"), ("host", "gateway.test")], false),
            (vec![("origin", "https://evil.test"), ("host", "gateway.test")], true),
            (vec![("origin", "null"), ("host", "gateway.test")], true),
        ] {
            let request = headers.iter().fold(TestRequest::default(), |request, header| request.insert_header(*header));
            assert_eq!(is_from_elsewhere(request.to_http_request().headers()), elsewhere, "{headers:?}");
        }
    }

    #[test]
    fn what_is_no_page_is_told_apart() {
        for (wanted, is_part) in
            [(None, false), (Some("document"), false), (Some("image"), true), (Some("empty"), true)]
        {
            let request = TestRequest::default();
            let request = wanted.into_iter().fold(request, |request, is| request.insert_header(("sec-fetch-dest", is)));
            assert_eq!(is_for_a_part(request.to_http_request().headers()), is_part, "{wanted:?}");
        }
    }

    #[test]
    fn over_tls_a_cookie_is_this_hosts_alone() {
        let cookie = set(PERSON, "x", 60, true);
        assert_eq!(cookie, "__Host-ers-person=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        assert!(!set(PERSON, "x", 60, false).contains("Secure"));
    }
}
