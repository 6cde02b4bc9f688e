//! `mailbell replay`: events are handed over again, to a subscriber that acknowledges; or it is paused, or goes on.

use super::{Failed, Outcome, exit};
use crate::config::Config;
use crate::notify::Settings;
use crate::server::{monitor, owner};
use lexopt::prelude::*;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a server may take for its answer: it reads the journal, and the subscriber's thread writes its cursor.
const PATIENCE: Duration = Duration::from_secs(60);

const HELP: &str = "\
Usage: mailbell replay SUBSCRIBER SEQ[-SEQ]... [-c FILE]
       mailbell replay SUBSCRIBER --given-up | --pause | --resume [-c FILE]

Hands events over again, to a [[hook]] or a [[webhook]] of the running server. SUBSCRIBER is its name as `mailbell status`
shows it, such as hook:archive; the name alone does where only one subscriber has it. SEQ is the number of an event, or
the first and the last of several. An [[mqtt]] cannot be asked: `mailbell watch --from SEQ --count 1` prints an event again.

An event keeps its seq and its id, and a webhook its webhook-id. The events come in their order and before newer ones, by
the rules of each event: what fails is tried again. An event that fails at present is tried at once. Events that the
journal has no more are named, and the others are handed over. A restart of the server forgets nothing of this.

      --given-up      the events that `mailbell status` shows as given up, at most the last 100
      --pause         begin no more tries until --resume, also after a restart; the events wait
      --resume        go on after --pause
  -c, --config FILE   configuration
  -h, --help          this text

Exit codes: 0 done; 64 wrong usage, or no such subscriber; 66 the journal has none of these events; 75 no server runs, or
it cannot do it now; 77 no right to ask it; 78 the configuration is wrong.
";

/// Runs the command with the arguments after its name.
pub fn run(mut arguments: lexopt::Parser) -> Outcome {
    let (mut file, mut name, mut events, mut order) = (None, None, Vec::new(), None);
    while let Some(argument) = arguments.next()? {
        let given = match argument {
            Short('c') | Long("config") => {
                file = Some(PathBuf::from(arguments.value()?));
                continue;
            }
            Short('h') | Long("help") => return super::print(HELP),
            Short('V') | Long("version") => return super::print(super::VERSION),
            Long("given-up") => "given_up",
            Long("pause") => "pause",
            Long("resume") => "resume",
            Value(value) if name.is_none() => {
                name = Some(value.string()?);
                continue;
            }
            Value(value) => {
                events.push(range(&value.string()?)?);
                "replay"
            }
            other => return Err(other.unexpected().into()),
        };
        if *order.get_or_insert(given) != given {
            let message = "write numbers of events, or one of --given-up, --pause and --resume; see --help";
            return Err(Failed::new(exit::USAGE, message));
        }
    }
    let usage = |what: &str| Failed::new(exit::USAGE, format!("{what}; see mailbell replay --help"));
    let name = name.ok_or_else(|| usage("the name of a subscriber is missing"))?;
    let order = order.ok_or_else(|| usage("the numbers of the events, or --given-up, are missing"))?;
    let config = super::configuration(file)?;
    let name = subscriber(&config, &name)?;
    owner::become_owner_of_state(&config)?;
    let request = json!({"subscriber": name, "do": order, "events": events});
    let answer = ask(&config.state, &request).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failed::new(exit::TEMPORARY, "no server runs with this state; start it, and run the command again")
        }
        _ => Failed::new(super::code_of(&error, exit::TEMPORARY), format!("the server cannot be asked: {error}")),
    })?;
    tell(&name, order, &answer)
}

/// Asks a running server.
fn ask(state: &Path, request: &Value) -> io::Result<Value> {
    let mut stream = UnixStream::connect(monitor::control_socket(state))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Says what became of it.
fn tell(name: &str, order: &str, answer: &Value) -> Outcome {
    if answer["unknown"] == true {
        let message = format!("the running server has no subscriber {name}; send it SIGHUP");
        return Err(Failed::new(exit::TEMPORARY, message));
    }
    if let Some(why) = answer["refused"].as_str() {
        return Err(Failed::new(exit::TEMPORARY, format!("{name}: {why}")));
    }
    match order {
        "pause" => {
            return super::print(&format!("{name}: paused; events wait for `mailbell replay {name} --resume`\n"));
        }
        "resume" => return super::print(&format!("{name}: goes on\n")),
        _ => {}
    }
    let number = |key: &str| answer[key].as_u64().unwrap_or(0);
    let (queued, unwanted) = (number("queued"), number("unwanted"));
    let gone = answer["gone"].as_array().map(Vec::as_slice).unwrap_or_default();
    let pair = |pair: &Value| (pair[0].as_u64().unwrap_or(0), pair[1].as_u64().unwrap_or(0));
    let shown = |(from, to): (u64, u64)| if from == to { from.to_string() } else { format!("{from}-{to}") };
    if !gone.is_empty() {
        let gone: Vec<String> = gone.iter().map(|each| shown(pair(each))).collect();
        eprintln!("mailbell: the journal does not have these events: {}", gone.join(" "));
    }
    if unwanted > 0 {
        eprintln!("mailbell: {unwanted} of the events are not for {name}, by its `users` and `match`");
    }
    if queued == 0 && order == "replay" {
        return Err(Failed::new(exit::NO_INPUT, format!("{name}: nothing is handed over again")));
    }
    super::print(&format!(
        "{name}: {queued} {} handed over again\n",
        if queued == 1 { "event is" } else { "events are" }
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// `7` or `7-9`.
fn range(text: &str) -> Result<(u64, u64), Failed> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten().filter(|seq| *seq > 0)
    };
    let range = match text.split_once('-') {
        Some((from, to)) => number(from).zip(number(to)),
        None => number(text).map(|seq| (seq, seq)),
    };
    range.filter(|(from, to)| from <= to).ok_or_else(|| {
        let message = format!("{text:?} is not the number of an event, such as 7, nor a range, such as 7-9");
        Failed::new(exit::USAGE, message)
    })
}

/// The whole name of a subscriber of the configuration.
fn subscriber(config: &Config, name: &str) -> Result<String, Failed> {
    let all: Vec<Settings> = config.subscribers();
    let is_named = |settings: &&Settings| {
        let whole = settings.name();
        whole == name || whole.split_once(':').is_some_and(|(_, bare)| bare == name)
    };
    let found: Vec<&Settings> = all.iter().filter(is_named).collect();
    let whole = found.iter().find(|settings| settings.name() == name);
    let known = || {
        let names: Vec<String> = all.iter().filter(|each| each.replays().is_some()).map(Settings::name).collect();
        if names.is_empty() {
            "there is no [[hook]] or [[webhook]]".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        }
    };
    let wrong = |message: String| Err(Failed::new(exit::USAGE, message));
    match (whole, found.as_slice()) {
        (Some(settings), _) | (None, [settings]) if settings.replays().is_some() => Ok(settings.name()),
        (Some(broker), _) | (None, [broker]) if broker.name().starts_with("mqtt:") => {
            let name = broker.name();
            wrong(format!(
                "{name} publishes each event once the broker has acknowledged those before it, and none is published again; \
                 to get an event once more, read it with `mailbell watch --from SEQ --count 1`; {}",
                known()
            ))
        }
        (Some(_), _) | (None, [_]) => {
            wrong(format!("{name} does not acknowledge events, so none can be handed over again; {}", known()))
        }
        (None, []) => wrong(format!("there is no subscriber {name:?}; {}", known())),
        (None, several) => {
            let names: Vec<String> = several.iter().map(|each| each.name()).collect();
            wrong(format!("{name:?} is the name of several: write one of {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_exact() {
        for (text, wanted) in [("7", Some((7, 7))), ("7-9", Some((7, 9))), ("7-7", Some((7, 7)))] {
            assert_eq!(range(text).ok(), wanted);
        }
        for text in ["", "0", "-1", "1-", "-", "9-7", "+1", "1-2-3", "1,2", "99999999999999999999", "0-5"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
