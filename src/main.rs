//! The binary: runs the command line, and ends with its exit code.

fn main() -> std::process::ExitCode {
    mailbell::cli::main()
}
