//! `mailbell deliver`.

use super::Outcome;

/// Runs the command with the arguments after its name.
pub fn run(_arguments: lexopt::Parser) -> Outcome {
    unimplemented!("cli::deliver")
}

/// Runs `deliver` in the form of sendmail, with the arguments after its name.
pub fn sendmail(_arguments: lexopt::Parser) -> Outcome {
    unimplemented!("cli::deliver")
}
