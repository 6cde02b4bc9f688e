//! `[[remote]]` by POP3 against servers with habits that Dovecot does not have, on the real binary.
#![cfg(feature = "remote")]

mod common;

use common::{BASIC, Scratch, Server};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

/// A POP3 server whose messages all have the unique-id `same`. It sends a stamp and refuses APOP.
#[derive(Default)]
struct Fake {
    messages: Mutex<Vec<String>>,
    logins: Mutex<Vec<String>>,
}

impl Fake {
    fn serve() -> (u16, Arc<Fake>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Arc::<Fake>::default();
        let server = fake.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let fake = server.clone();
                std::thread::spawn(move || drop(fake.session(stream.unwrap())));
            }
        });
        (port, fake)
    }

    fn session(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        stream.write_all(b"+OK ready <1.2@fake>\r\n")?;
        let mut deleted = Vec::new();
        while let Some(line) = lines.next().transpose()? {
            let words: Vec<&str> = line.split(' ').collect();
            let number = words.get(1).and_then(|word| word.parse::<usize>().ok()).unwrap_or(0);
            let messages = self.messages.lock().unwrap().clone();
            let answer = match words[0] {
                "APOP" | "USER" | "PASS" => {
                    self.logins.lock().unwrap().push(words[0].to_owned());
                    if words[0] == "APOP" { "-ERR [AUTH] no".to_owned() } else { "+OK".to_owned() }
                }
                "CAPA" => "+OK\r\nUIDL\r\nTOP\r\n.".to_owned(),
                "STAT" => format!("+OK {} 100", messages.len()),
                "UIDL" => {
                    let entries: String = (1..=messages.len()).map(|number| format!("{number} same\r\n")).collect();
                    format!("+OK\r\n{entries}.")
                }
                "LIST" => format!("+OK {number} 50"),
                "RETR" | "TOP" => format!("+OK\r\nSubject: {}\r\n\r\nx\r\n.", messages[number - 1]),
                "DELE" => {
                    deleted.push(number - 1);
                    "+OK".to_owned()
                }
                "QUIT" => {
                    deleted.iter().rev().for_each(|index| drop(self.messages.lock().unwrap().remove(*index)));
                    "+OK".to_owned()
                }
                _ => "-ERR".to_owned(),
            };
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
        }
        Ok(())
    }
}

fn serve(name: &str, port: u16) -> Server {
    let scratch = Scratch::prepared(
        name,
        &format!(
            "{BASIC}\n[[remote]]\nname = \"work\"\nprotocol = \"pop3\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"off\"\n\
             login = \"me\"\nuser = \"alice\"\npassword_file = \"work.pw\"\nonly_new = false\nafter = \"delete\"\n"
        ),
    );
    fs::write(scratch.path("work.pw"), "secret\n").unwrap();
    fs::set_permissions(scratch.path("work.pw"), fs::Permissions::from_mode(0o600)).unwrap();
    Server::start_in(scratch, &[])
}

fn look(server: &Server) {
    assert_eq!(server.run(&["fetch", "work"], "").status.code(), Some(0), "{}", server.log());
}

#[test]
fn where_apop_is_refused_user_and_pass_follow() {
    let (port, fake) = Fake::serve();
    fake.messages.lock().unwrap().push("one".into());
    let server = serve("pop3-apop", port);
    look(&server);
    assert_eq!(server.records().len(), 1, "{}", server.log());
    look(&server);
    let logins = fake.logins.lock().unwrap().join(" ");
    assert!(logins.starts_with("APOP USER PASS"), "{logins}");
    assert_eq!(logins.matches("APOP").count(), 1, "what was refused is not tried each time: {logins}");
    let output = server.run(&["check", "--online"], "");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_unique_id_of_a_message_that_was_deleted_may_come_again() {
    let (port, fake) = Fake::serve();
    fake.messages.lock().unwrap().push("one".into());
    let server = serve("pop3-again", port);
    look(&server);
    assert_eq!(fake.messages.lock().unwrap().len(), 0, "{}", server.log());
    fake.messages.lock().unwrap().push("two".into());
    look(&server);
    let subjects: Vec<_> = server.records().iter().map(|record| record["subject"].to_string()).collect();
    assert_eq!(subjects, ["\"one\"", "\"two\""], "it is not deleted unread");
    // A server that only said that it deletes.
    fake.messages.lock().unwrap().push("two".into());
    look(&server);
    assert_eq!((server.records().len(), fake.messages.lock().unwrap().len()), (2, 0));
}
