//! mailbell: the mail server that tells your programs.
//!
//! This file is the map of the house. A room imports only from lower floors, or from a sibling that is named here;
//! `tests/house.rs` reads the imports and holds the table. The library promises no API: it exists for the binary and
//! for the tests.
//!
//! ```text
//! floor 4   main                                        a match on run()
//! floor 3   cli  server                                 what a person types; what the event loop does
//! floor 2   handshake  smtpd  pop3d  monitor  trust  service  delivery  arrivals  admission  sessions  listener  pool  conn  tls    sockets and threads
//! floor 1   maildir  journal  notify  accounts  config  sandbox  sys      files and the operating system
//! floor 0   smtp  pop3  sasl  dot  line  header  trace  address  base64  by_address  proxy  date  counters  maillog  limits  nearest  script    pure: no I/O, no clock
//! ```
//!
//! A message flows one way: accept -> `conn` -> `smtp::Session` -> `dot` -> `maildir` (fsync) -> `journal` -> 250, and
//! from the journal to each subscriber in `notify`. Nothing below knows who reads it.

// Floor 0. Siblings: smtp -> address, dot, sasl, trace; pop3 -> dot, sasl; header -> trace -> date; sasl, header ->
// base64; all -> limits; the dialogues' tests -> script.
pub mod address;
pub mod base64;
pub mod by_address;
pub mod counters;
pub mod date;
pub mod dot;
pub mod header;
pub mod limits;
pub mod line;
pub mod maillog;
pub mod nearest;
pub mod pop3;
pub mod proxy;
pub mod sasl;
#[cfg(test)]
#[path = "../tests/common/script.rs"]
mod script;
pub mod smtp;
pub mod trace;

// Floor 1. Siblings: notify -> journal -> maildir; config -> notify; accounts -> config; all -> sys.
pub mod accounts;
pub mod config;
pub mod journal;
pub mod maildir;
pub mod notify;
pub mod sandbox;
pub mod sys;

// Floor 2. Siblings: handshake -> smtpd, pop3d, monitor, trust; these and it -> service, conn; service -> delivery,
// admission, sessions, tls; smtpd -> delivery; arrivals -> delivery; sessions, listener -> conn -> tls.
pub mod admission;
pub mod arrivals;
pub mod conn;
pub mod delivery;
pub mod handshake;
pub mod listener;
pub mod monitor;
pub mod pool;
pub mod pop3d;
pub mod service;
pub mod sessions;
pub mod smtpd;
pub mod tls;
pub mod trust;

// Floor 3. Siblings: cli -> server.
pub mod cli;
pub mod server;
