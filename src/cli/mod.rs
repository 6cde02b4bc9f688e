//! (room to be built)

use std::process::ExitCode;

/// Runs the command line and gives its sysexits(3) code.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
