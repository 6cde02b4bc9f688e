//! What `mailbell test` prints: a line for each step, with the milliseconds since the first one.

use std::io::{self, Write};
use std::time::Instant;

/// The steps so far.
#[derive(Debug)]
pub struct Timeline {
    began: Instant,
    failed: Option<(String, u8)>,
}

impl Timeline {
    /// Begins now.
    pub fn new() -> Timeline {
        Timeline { began: Instant::now(), failed: None }
    }

    /// A step that worked.
    pub fn ok(&self, step: &str, what: &str) {
        self.line("ok", step, what);
    }

    /// Something that is not as it should be, and no failure.
    pub fn wait(&self, step: &str, what: &str) {
        self.line("wait", step, what);
    }

    /// A step that was left out.
    pub fn skip(&self, step: &str, what: &str) {
        self.line("skip", step, what);
    }

    /// A step that failed, with the exit code that it stands for and a hint. The first one decides the exit code.
    pub fn fail(&mut self, step: &str, what: &str, code: u8, hint: &str) {
        self.line("FAIL", step, what);
        if !hint.is_empty() {
            print(&format!("{:19}{hint}\n", ""));
        }
        self.failed.get_or_insert((step.to_owned(), code));
    }

    /// The last line, and the exit code.
    pub fn end(self) -> u8 {
        match self.failed {
            None => {
                print("everything works\n");
                0
            }
            Some((step, code)) => {
                print(&format!("failed: {step}\n"));
                code
            }
        }
    }

    fn line(&self, word: &str, step: &str, what: &str) {
        let milliseconds = self.began.elapsed().as_secs_f64() * 1_000.0;
        // What a server says must not change the terminal.
        let what: String = what.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
        print(&format!("{word:4} {milliseconds:9.1} ms  {step}: {what}\n"));
    }
}

/// A reader that has gone is no reason to leave the message behind.
fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}
