//! Lines that a reader takes apart wrongly: white space in a path, and text of strangers before a path.

use super::Findings;
use crate::notify::{FieldName, Format, Piece};
use std::path::Path;

/// Fields without white space and without text that a sender chooses.
const PLAIN: [&str; 8] = ["seq", "event", "timestamp", "user", "id", "size", "via", "client"];

/// Warns of them.
pub(super) fn check(findings: &mut Findings<'_>) {
    let config = findings.config;
    if config.pipes.iter().any(|pipe| pipe.format == Format::Inotify) {
        let watched = config.watches.iter().enumerate();
        let watched = watched.map(|(index, watch)| (format!("watch[{index}].maildir"), watch.maildir.as_path()));
        for (key, folder) in watched.chain([("mail.root".to_owned(), config.mail.root.as_path())]) {
            if has_blank(folder) {
                let message = format!(
                    "{} has white space in it, where `read -r dir event file` splits the line of a pipe; use a path \
                     without, or the format \"path\" or \"json\"",
                    folder.display()
                );
                findings.doubtful(&key, message);
            }
        }
    }
    for (index, pipe) in config.pipes.iter().enumerate() {
        if let Format::Template(pieces) = &pipe.format
            && let Some(field) = field_before_path(pieces)
        {
            let message = format!(
                "{{{field}}} stands before {{path}}: what a sender writes there can look like a path to a reader that \
                 splits the line; put {{path}} first"
            );
            findings.doubtful(&format!("pipe[{index}].format"), message);
        }
    }
}

fn has_blank(path: &Path) -> bool {
    path.to_string_lossy().contains(char::is_whitespace)
}

/// The first field of free text before `{path}`. A tab between them keeps them apart: no value holds one.
fn field_before_path(pieces: &[Piece]) -> Option<&FieldName> {
    let path = pieces.iter().position(|piece| *piece == Piece::Value(FieldName::Event("path")))?;
    let mut free = None;
    for piece in &pieces[..path] {
        match piece {
            Piece::Text(text) if text.contains('\t') => free = None,
            Piece::Value(FieldName::Event(name)) if PLAIN.contains(name) => {}
            Piece::Value(key) => free = free.or(Some(key)),
            Piece::Text(_) => {}
        }
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_text_before_a_path_is_found() {
        for (format, field) in [
            ("{user} {subject} {path}", Some("subject")),
            ("{from}: {path}", Some("from")),
            ("{user} {mail_from} {size} {path} {subject}", Some("mail_from")),
            ("{path} {subject}", None),
            ("{seq} {user} {id} {path} {from} {subject}", None),
            ("{subject}\t{path}", None),
            ("{subject}\t{from} {path}", Some("from")),
            ("{from}: {subject}", None),
            ("{header.X-Spam-Flag} {path}", Some("header.x-spam-flag")),
        ] {
            let Ok(Format::Template(pieces)) = Format::parse(format) else { panic!("{format}") };
            assert_eq!(field_before_path(&pieces).map(FieldName::to_string).as_deref(), field, "{format}");
        }
    }

    #[test]
    fn white_space_in_a_path_is_found() {
        assert!(has_blank(Path::new("/srv/my mail")) && has_blank(Path::new("/srv/a\tb")));
        assert!(!has_blank(Path::new("/srv/mail")));
    }
}
