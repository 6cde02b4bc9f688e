//! The binary: hand the arguments to `cli` and turn the answer into an exit code.

fn main() -> std::process::ExitCode {
    mailbell::cli::main()
}
