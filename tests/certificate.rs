//! A certificate that is renewed while the server runs, as certbot and acme.sh do it.
#![cfg(feature = "tls")]

mod common;

use common::{BASIC, Scratch, Server, wait_for};
use mailbell::net::remote::conn::{Signal, connect};
use mailbell::net::remote::tls::{Client, Trust, fingerprint};
use std::fs;
use std::path::Path;

/// Chain and key in PEM form, and the fingerprint.
fn pair() -> (String, String, [u8; 32]) {
    let pair = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    (pair.cert.pem(), pair.signing_key.serialize_pem(), fingerprint(pair.cert.der()))
}

/// `keep` makes the looks come each 2 s instead of each hour.
fn configuration(certificate: &str, key: &str) -> String {
    let tls = format!("[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\npop3s = [\"127.0.0.1:0\"]\n");
    format!("{BASIC}{tls}[journal]\nkeep = \"8s\"\n")
}

/// The fingerprint that a client is shown.
fn shown(server: &Server) -> [u8; 32] {
    let address = server.address("pop3s");
    // Whatever it is: it is compared by the test.
    let client = Client::new(&Trust::Fingerprints(Vec::new())).unwrap();
    let error =
        connect("127.0.0.1", address.port(), Some(&client), true, &Signal::new().unwrap()).unwrap_err().to_string();
    let digits = error.rsplit(' ').next().unwrap();
    mailbell::net::remote::tls::parse_fingerprint(digits).unwrap_or_else(|| panic!("{error}"))
}

fn wait_for_certificate(server: &Server, wanted: [u8; 32]) {
    wait_for("the new certificate", || (shown(server) == wanted).then_some(()));
}

fn status(server: &Server) -> serde_json::Value {
    serde_json::from_slice(&server.run(&["status", "--json"], "").stdout).unwrap()
}

#[test]
fn a_link_that_leads_to_new_files_is_followed() {
    let scratch = Scratch::prepared("certbot", &configuration("live/fullchain.pem", "live/privkey.pem"));
    let (archive, live) = (scratch.path("archive"), scratch.path("live"));
    fs::create_dir(&archive).unwrap();
    fs::create_dir(&live).unwrap();
    let renew = |number: u32| {
        let (chain, key, print) = pair();
        for (name, text) in [("privkey", key), ("fullchain", chain)] {
            fs::write(archive.join(format!("{name}{number}.pem")), text).unwrap();
            let link = live.join(format!("{name}.pem"));
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(Path::new("../archive").join(format!("{name}{number}.pem")), link).unwrap();
        }
        print
    };
    let first = renew(1);
    let server = Server::start_in(scratch, &[]);
    assert_eq!(shown(&server), first);
    assert!(status(&server)["certificates"][0]["expires"].is_string());
    // A session that is open stays, and keeps its certificate.
    let mut session = server.pop3_as("alice");
    let second = renew(2);
    wait_for_certificate(&server, second);
    session.say("NOOP", "+OK");
    wait_for("the log", || {
        server.log().contains("the new certificate is used from now on; it ends at 4096").then_some(())
    });
    server.stop();
}

#[test]
fn a_key_that_is_written_before_its_certificate_changes_nothing_yet() {
    let scratch = Scratch::prepared("acme", &configuration("cert.pem", "key.pem"));
    let (chain, key, first) = pair();
    fs::write(scratch.path("cert.pem"), chain).unwrap();
    fs::write(scratch.path("key.pem"), key).unwrap();
    let server = Server::start_in(scratch, &[]);
    let (chain, key, second) = pair();
    // In place, as acme.sh writes.
    fs::write(server.path("key.pem"), key).unwrap();
    wait_for("the log", || server.log().contains("cannot be used").then_some(()));
    assert!(server.log().contains("the old one stays"), "{}", server.log());
    assert_eq!(shown(&server), first);
    fs::write(server.path("cert.pem"), chain).unwrap();
    wait_for_certificate(&server, second);
    // SIGHUP takes a new one over at once.
    let (chain, key, third) = pair();
    fs::write(server.path("key.pem"), key).unwrap();
    fs::write(server.path("cert.pem"), chain).unwrap();
    server.signal("HUP");
    wait_for_certificate(&server, third);
    server.stop();
}
