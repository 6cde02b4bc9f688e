//! HTTP requests: any lines are taken, and what is served is a whole, bounded request without a body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailbell::http::{Head, Host, LONGEST_HEAD, Session, Step, Version, is_foreign, reason};

fuzz_target!(|data: &[u8]| {
    let mut session = Session::default();
    let mut octets = 0;
    for line in data.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        octets += line.len() + 2;
        let step = match line.len() + 2 > session.line_limit() {
            true => session.line_too_long(),
            false => session.line(line),
        };
        match step {
            Step::Line => assert!(octets <= LONGEST_HEAD),
            Step::Serve(request) => {
                assert!(request.path.starts_with('/') && octets <= LONGEST_HEAD);
                assert!(request.version == Version::Http10 || request.host.is_some());
                if let Some(host) = &request.host {
                    assert_eq!(Host::parse(&host.to_string()).as_ref(), Some(host));
                    let _ = host.is_ours(["example.org", "[192.0.2.1]"].into_iter(), None);
                }
                let _ = (is_foreign(&request, true), is_foreign(&request, false));
                octets = 0;
            }
            Step::Refuse(refusal) => {
                let mut out = Vec::new();
                let (version, code) = (Version::Http11, refusal.code);
                let head =
                    Head { now: 0, version, code, content_type: "text/plain", length: Some(0), keeps: false, more: "" };
                head.write(&mut out);
                assert_ne!(reason(code), "Service Unavailable");
                assert!(out.ends_with(b"\r\n\r\n") && !refusal.why.contains(['\r', '\n']));
                return;
            }
        }
    }
});
