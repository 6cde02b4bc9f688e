//! `mailbell user`.

use super::Outcome;

/// Runs the command with the arguments after its name.
pub fn run(_arguments: lexopt::Parser) -> Outcome {
    unimplemented!("cli::user")
}
