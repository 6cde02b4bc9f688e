//! Secrets for other servers: whether the file can be read by the server and by nobody else, whether the program is there.

use super::Findings;
use crate::net::remote::secret::{Source, read_file};
use crate::sys::Ids;
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};

/// A secret that cannot be read, or that others can read.
pub(super) fn secret(findings: &mut Findings<'_>, server: Option<Ids>, source: &Source, key: &dyn Fn(&str) -> String) {
    match source {
        Source::File(path) => {
            if let Some(Err(error)) = findings.as_server(server, || read_file(path)) {
                findings.wrong(&key("password_file"), error);
            }
        }
        Source::PasswordCommand(command) => program(findings, &key("password_command"), command),
        Source::TokenCommand(command) => program(findings, &key("token_command"), command),
    }
}

fn program(findings: &mut Findings<'_>, key: &str, command: &[String]) {
    let program = Path::new(command.first().map_or("", String::as_str));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = match program.components().count() > 1 {
        true => vec![program.to_owned()],
        false => std::env::split_paths(&path).map(|folder| folder.join(program)).collect(),
    };
    if !places.iter().any(|place| place.is_file() && access(place, Access::EXEC_OK).is_ok()) {
        findings.doubtful(key, format!("there is no program {} that can be run", program.display()));
    }
}
