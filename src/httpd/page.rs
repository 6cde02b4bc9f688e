//! The page for people: plain files inside of the binary. They hold no data, so they need no token; their script asks for
//! /status and /events.

/// A policy under which nothing but these files runs or is loaded, and no other page can frame them.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'\r\nX-Frame-Options: DENY\r\n";

/// Type, content and further fields of the file at this path.
pub(super) fn file(path: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match path {
        "/" => ("text/html; charset=utf-8", include_str!("page/page.html"), POLICY),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page/page.css"), ""),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("page/page.js"), ""),
        "/icon.svg" => ("image/svg+xml", include_str!("page/icon.svg"), ""),
        _ => return None,
    })
}
