//! mailbell: the mail server that tells your programs.
//!
//! This file is the map of the house. A room imports only from lower floors, or from a sibling that is named here;
//! `tests/house.rs` reads the imports and holds the table. The library promises no API: it exists for the binary and
//! for the tests.
//!
//! ```text
//! floor 4   main                                                        a match on run()
//! floor 3   cli  server                                                 what a person types; the event loop and what belongs to it
//! floor 2   smtpd  pop3d  httpd  fetch  send  arrivals  service  delivery     sockets and threads
//! floor 1   maildir  queue  journal  ledger  content  notify  accounts  config  net  sys    files, sockets and the operating system
//! floor 0   smtp  pop3  imap  mqtt  http  sasl  message  nearest  limits  script    pure: no I/O, no clock
//! ```
//!
//! A message flows one way. No room knows which rooms read what it writes.
//!
//! ```text
//! accept -> net::conn -> smtp::Session -> dot decoder -> delivery: write, fsync -> ledger: expect -> maildir: rename
//!        -> maildir: fsync the folder -> 250
//!        '-> ledger: record, one sync for all that wait -> notify: each subscriber reads the journal up to what is safe
//! ```

// Floor 0. Siblings: smtp -> message, sasl; pop3, imap -> message, sasl; http, mqtt, sasl -> message; all -> limits; the
// dialogues' tests -> script.
pub mod http;
pub mod imap;
pub mod limits;
pub mod message;
pub mod mqtt;
pub mod nearest;
pub mod pop3;
pub mod sasl;
#[cfg(test)]
#[path = "../tests/common/script.rs"]
mod script;
pub mod smtp;

// Floor 1. Siblings: ledger -> journal, maildir; queue -> maildir; content -> journal; notify -> journal, content, net;
// config -> net, notify; accounts -> config, net;
// all -> sys.
pub mod accounts;
pub mod config;
#[cfg(feature = "mime")]
pub mod content;
pub mod journal;
pub mod ledger;
pub mod maildir;
pub mod net;
pub mod notify;
#[cfg(feature = "relay")]
pub mod queue;
pub mod sys;

// Floor 2. Siblings: smtpd, pop3d, httpd -> service -> delivery, fetch; smtpd, fetch, send, arrivals -> delivery; smtpd ->
// send -> service.
pub mod arrivals;
pub mod delivery;
#[cfg(feature = "remote")]
pub mod fetch;
pub mod httpd;
pub mod pop3d;
#[cfg(feature = "relay")]
pub mod send;
pub mod service;
pub mod smtpd;

// Floor 3. Siblings: cli -> server.
pub mod cli;
pub mod server;
