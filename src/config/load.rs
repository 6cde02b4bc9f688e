//! From a file to a [`Config`]: every section, key by key, with its default. `value` parses the strings, `conflicts` finds
//! settings that contradict each other.

use super::report::Report;
use super::section::Section;
use super::value::{
    self, choice, domain, mail_domain, or_empty, or_off, private_mode, rate, size, some_size, some_time, user_name,
};
use super::{AuthPolicy, Config, Domains, Limits, Mail, Network, Place, Pop3, Problem, Smtp, Tls, Users};
use super::{conflicts, http, subscribers};
use crate::notify::unknown_header;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use toml::de::DeTable;

/// Longest configuration file, octets: a wrong path (a disk image, a device) is an error, not read whole.
const LONGEST: u64 = 1 << 20;

/// What a size of 0 would do.
const NO_MAIL: &str = "would refuse every message; write a size such as \"1GiB\"";

/// `smtp.auth`.
const AUTH: [(&str, AuthPolicy); 3] =
    [("off", AuthPolicy::Off), ("optional", AuthPolicy::Optional), ("required", AuthPolicy::Required)];

/// `smtp.early_talkers`: whether clients may send before the greeting.
const EARLY: [(&str, bool); 2] = [("refuse", false), ("allow", true)];

/// Reads and checks a file.
pub(super) fn load(file: &Path) -> Result<Config, Vec<Problem>> {
    parse(file, &read(file)?)
}

/// Checks the text of a file.
pub(super) fn parse(file: &Path, text: &str) -> Result<Config, Vec<Problem>> {
    let report = Report::new(file, text);
    let config = document(&report, file, text);
    match report.finish() {
        problems if problems.is_empty() => Ok(config),
        problems => Err(problems),
    }
}

/// The settings of an empty file in this folder, which are all defaults.
pub(super) fn defaults(folder: &Path) -> Config {
    let file = folder.join("mailbell.toml");
    let config = document(&Report::new(&file, ""), &file, "");
    Config { file: None, ..config }
}

/// The line of a key in a file that was read before; 0 without such a key, or if the file can no longer be read.
pub(super) fn line_of_key(file: &Path, key: &str) -> usize {
    let Ok(text) = read(file) else { return 0 };
    let report = Report::new(file, &text);
    let _ = document(&report, file, &text);
    report.line_of_key(key).unwrap_or(0)
}

/// The keys that this text does not have.
#[cfg(test)]
pub(super) fn unused_keys(file: &Path, text: &str) -> Vec<String> {
    let report = Report::new(file, text);
    document(&report, file, text);
    report.unused()
}

fn read(file: &Path) -> Result<String, Vec<Problem>> {
    let problem = |line, message| vec![Problem { file: file.to_owned(), line, message }];
    let mut octets = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(LONGEST + 1).read_to_end(&mut octets))
        .map_err(|error| problem(0, format!("cannot be read: {error}")))?;
    if octets.len() as u64 > LONGEST {
        return Err(problem(0, "is longer than 1 MiB, so it is no configuration".into()));
    }
    String::from_utf8(octets).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|octet| **octet == b'\n').count() + 1;
        problem(line, "is not UTF-8 from here on; save the file as UTF-8".into())
    })
}

/// Reads the whole text; the report gets all problems.
fn document(report: &Report<'_>, file: &Path, text: &str) -> Config {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        report.add_syntax(error.span().unwrap_or_default(), error.message());
    }
    let folder = std::path::absolute(file).ok().and_then(|file| file.parent().map(Path::to_owned)).unwrap_or_default();
    let mut top = Section::top(report, table.get_ref());
    let config = settings(&mut top, &folder, file);
    report.check_matches(|key| unknown_header(key, &config.event.headers));
    top.finish();
    if errors.is_empty() {
        conflicts::find(&config, report);
    }
    config
}

fn settings(top: &mut Section<'_, '_>, base: &Path, file: &Path) -> Config {
    let path = |text: &str| value::path(base, text);
    let minutes = |count: u64| Duration::from_secs(60 * count);

    let hostname = top.text("hostname", "\"mail.example.org\"", domain).unwrap_or_else(own_hostname);
    let domains = domains(top, &hostname);
    let state = top.text("state", "\"/var/lib/mailbell\"", path).unwrap_or_else(|| "/var/lib/mailbell".into());
    let user = top.text("user", "\"mailbell\"", or_empty(system_name)).flatten();
    let group = top.text("group", "\"mail\"", or_empty(system_name)).flatten();

    let mut section = top.section("mail");
    let mail = Mail {
        root: section.text("root", "\"/var/lib/mailbell/mail\"", path).unwrap_or("/var/lib/mailbell/mail".into()),
        file_mode: section.text("file_mode", "\"0640\"", private_mode).unwrap_or(0o640),
        compress_after: section.text("compress_after", "\"7d\" or \"off\"", or_off(value::duration)).flatten(),
        delete_after: section.text("delete_after", "\"30d\" or \"off\"", or_off(some_time)).flatten(),
        quota: section.text("quota", "\"1GiB\" or \"off\"", or_off(|text| some_size(text, NO_MAIL))).flatten(),
        min_free: section.text("min_free", "\"100MiB\"", size).unwrap_or(100 << 20),
    };
    section.finish();

    let users = users(top, base);
    let mut section = top.section("smtp");
    let smtp = Smtp {
        listen: listen(&mut section, base).unwrap_or_else(|| every_address(25)),
        max_message_size: section
            .text("max_message_size", "\"25MiB\"", |text| some_size(text, NO_MAIL))
            .unwrap_or(25 << 20),
        max_recipients: section.count("max_recipients", 1..=100_000).unwrap_or(100),
        auth: section.text("auth", "\"optional\"", |text| choice(text, &AUTH)).unwrap_or(AuthPolicy::Optional),
        allows_early_talkers: section.text("early_talkers", "\"refuse\"", |text| choice(text, &EARLY)).unwrap_or(false),
    };
    section.finish();

    let mut section = top.section("submission");
    let submission = listen(&mut section, base).unwrap_or_default();
    let any_sender = section.list("any_sender", "\"alice\"", any_sender).unwrap_or_default();
    section.finish();
    let mut section = top.section("lmtp");
    let lmtp = listen(&mut section, base).unwrap_or_default();
    section.finish();
    let mut section = top.section("proxy");
    let proxy_trusted = section.list("trusted", "\"10.0.0.0/8\"", Network::parse).unwrap_or_default();
    section.finish();
    let mut section = top.section("metrics");
    let metrics = section.text("listen", "\"127.0.0.1:9125\"", or_empty(|text| Place::parse(base, text))).flatten();
    section.finish();

    let http = http::http(top, base);
    let mut section = top.section("pop3");
    let pop3 = Pop3 {
        listen: listen(&mut section, base).unwrap_or_else(|| every_address(110)),
        command_timeout: section.text("command_timeout", "\"10m\"", some_time).unwrap_or(minutes(10)),
        mark_seen: section.flag("mark_seen").unwrap_or(true),
    };
    section.finish();

    let tls = tls(top, base);
    let mut section = top.section("limits");
    let limits = Limits {
        connections: section.count("connections", 1..=65_536).unwrap_or(512),
        connections_per_ip: section.count("connections_per_ip", 1..=65_536).unwrap_or(32),
        connection_rate_per_ip: section.text("connection_rate_per_ip", "\"60/1m\" or \"off\"", or_off(rate)).flatten(),
        message_rate_per_ip: section.text("message_rate_per_ip", "\"60/1m\" or \"off\"", or_off(rate)).flatten(),
        command_timeout: section.text("command_timeout", "\"5m\"", some_time).unwrap_or(minutes(5)),
        session_timeout: section.text("session_timeout", "\"1h\"", some_time).unwrap_or(minutes(60)),
        penalty_exempt: section.list("penalty_exempt", "\"127.0.0.0/8\"", Network::parse).unwrap_or_default(),
    };
    section.finish();

    let pipes = subscribers::pipes(top, base);
    let hooks = subscribers::hooks(top, base);
    #[cfg(feature = "mqtt")]
    let mqtts = super::mqtt::mqtts(top, base, &hostname, &state);
    #[cfg(feature = "webhook")]
    let webhooks = super::webhook::webhooks(top, base);
    let watches = subscribers::watches(top, base);
    #[cfg(feature = "remote")]
    let remotes = super::remote::remotes(top, base);
    #[cfg(feature = "relay")]
    let relay = super::relay::relay(top, base);
    let built = [
        ("mqtt", cfg!(feature = "mqtt")),
        ("webhook", cfg!(feature = "webhook")),
        ("remote", cfg!(feature = "remote")),
        ("relay", cfg!(feature = "relay")),
    ];
    built.into_iter().filter(|(_, is_built)| !is_built).for_each(|(key, _)| top.left_out(key));
    let event = super::event::event(top);
    let mut section = top.section("journal");
    let journal_keep = section.text("keep", "\"30d\"", some_time).unwrap_or(minutes(30 * 24 * 60));
    let journal_max_size = section.text("max_size", "\"1GiB\"", size).unwrap_or(1 << 30);
    section.finish();

    Config {
        file: Some(std::path::absolute(file).unwrap_or_else(|_| file.to_owned())),
        hostname,
        domains,
        state,
        user,
        group,
        mail,
        users,
        smtp,
        submission,
        any_sender,
        lmtp,
        proxy_trusted,
        metrics,
        http,
        pop3,
        tls,
        limits,
        pipes,
        hooks,
        #[cfg(feature = "mqtt")]
        mqtts,
        #[cfg(feature = "webhook")]
        webhooks,
        watches,
        #[cfg(feature = "remote")]
        remotes,
        #[cfg(feature = "relay")]
        relay,
        event,
        journal_keep,
        journal_max_size,
    }
}

fn domains(top: &mut Section<'_, '_>, hostname: &str) -> Domains {
    if top.raw("domains") == Some("*") {
        top.text("domains", "\"*\"", |_| Ok(()));
        return Domains::Any;
    }
    let parse = |text: &str| if text == "*" { Ok(text.to_owned()) } else { mail_domain(text) };
    let names = top.list("domains", "\"example.org\"", parse);
    let names = names.unwrap_or_else(|| vec![hostname.to_owned(), "localhost".to_owned()]);
    if top.is_empty_list("domains") {
        top.wrong("domains", "without any domain no mail is accepted; leave the key out for the default");
    }
    if names.iter().any(|name| name == "*") { Domains::Any } else { Domains::These(names) }
}

fn users(top: &mut Section<'_, '_>, base: &Path) -> Users {
    let path = |text: &str| value::path(base, text);
    let mut section = top.section("users");
    let delete_after = delete_after(&mut section);
    let aliases = section.text("aliases", "\"/etc/mailbell/aliases\"", path);
    let users = Users {
        file: section.text("file", "\"/etc/mailbell/users\"", path).unwrap_or("/etc/mailbell/users".into()),
        aliases_given: aliases.is_some(),
        aliases: aliases.unwrap_or("/etc/mailbell/aliases".into()),
        catch_all: section.text("catch_all", "\"alice\"", or_empty(user_name)).flatten(),
        delete_after,
        subaddress: section.text("subaddress", "\"+\"", or_empty(subaddress)).unwrap_or(Some('+')),
    };
    section.finish();
    users
}

/// `users.delete_after`: a table of user and age.
fn delete_after(section: &mut Section<'_, '_>) -> BTreeMap<String, Option<Duration>> {
    let mut ages = BTreeMap::new();
    for entry in section.entries("delete_after", "cam = \"7d\"") {
        let age = or_off(some_time)(&entry.value);
        match user_name(&entry.key).and_then(|user| Ok((user, age?))) {
            Ok((user, age)) => drop(ages.insert(user, age)),
            Err(why) => section.report().add(entry.offset, format!("`users.delete_after`: {why}")),
        }
    }
    ages
}

fn tls(top: &mut Section<'_, '_>, base: &Path) -> Tls {
    let path = |text: &str| value::path(base, text);
    let mut section = top.section("tls");
    let certificate = section.text("certificate", "\"/etc/mailbell/chain.pem\"", or_empty(path)).flatten();
    let key = section.text("key", "\"/etc/mailbell/key.pem\"", or_empty(path)).flatten();
    let mut places = |key| section.list(key, "\"0.0.0.0:465\"", |text| Place::parse(base, text)).unwrap_or_default();
    let (smtps, pop3s) = (places("smtps"), places("pop3s"));
    let required_for_auth = section.flag("required_for_auth").unwrap_or(true);

    // A name that was refused counts; it is reported already.
    let files = (section.is_set("certificate"), section.is_set("key"));
    let uses = [("certificate", files.0), ("key", files.1), ("smtps", !smtps.is_empty()), ("pop3s", !pop3s.is_empty())];
    for (key, _) in uses.into_iter().filter(|(_, used)| *used) {
        match (key, files) {
            _ if cfg!(not(feature = "tls")) => {
                section.wrong(key, "this mailbell was built without TLS (cargo feature `tls`)");
            }
            ("certificate", (_, false)) => section.wrong(key, "needs `tls.key` beside it"),
            ("key", (false, _)) => section.wrong(key, "needs `tls.certificate` beside it"),
            (_, (false, false)) => section.wrong(key, "needs `tls.certificate` and `tls.key`"),
            _ => {}
        }
    }
    section.finish();
    Tls { pair: certificate.zip(key), smtps, pop3s, required_for_auth }
}

fn listen(section: &mut Section<'_, '_>, base: &Path) -> Option<Vec<Place>> {
    section.list("listen", "\"0.0.0.0:25\"", |text| Place::parse(base, text))
}

fn every_address(port: u16) -> Vec<Place> {
    let address = |ip: IpAddr| Place::Tcp(SocketAddr::new(ip, port));
    vec![address(Ipv4Addr::UNSPECIFIED.into()), address(Ipv6Addr::UNSPECIFIED.into())]
}

/// The system's name where it can stand in a greeting, else `localhost`.
fn own_hostname() -> String {
    let system = rustix::system::uname();
    system.nodename().to_str().ok().and_then(|name| domain(name).ok()).unwrap_or_else(|| "localhost".into())
}

/// A name in the system's user database; whether it is there is known only at the start.
fn system_name(text: &str) -> Result<String, String> {
    let valid = text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':' && octet != b'/');
    if valid { Ok(text.to_owned()) } else { Err(format!("{text:?} is not a name that a system user has")) }
}

/// A user, or `*` for all.
fn any_sender(text: &str) -> Result<String, String> {
    if text == "*" { Ok(text.to_owned()) } else { user_name(text) }
}

/// The character that begins a subaddress; none that has a meaning in addresses.
fn subaddress(text: &str) -> Result<char, String> {
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii_punctuation() && !"@\"\\<>()[],:;".contains(letter) => Ok(letter),
        _ => Err(format!("{text:?} cannot begin a subaddress; write one character such as \"+\", or \"\" for none")),
    }
}
