//! The token of `[http]`: read at the start and at a reload, outside of the sandbox.

use crate::config::Config;
use crate::net::remote::secret::{Secret, read_file};

/// The first line of `http.token_file`; `None` where no file is given.
///
/// # Errors
///
/// Says why the file cannot be used: it is missing, empty, or others can read it, or its token fits into no request.
pub fn read(config: &Config) -> Result<Option<Secret>, String> {
    let Some(file) = &config.http.token_file else { return Ok(None) };
    let token = read_file(file).map_err(|error| error.to_string())?;
    match token.octets().iter().all(u8::is_ascii_graphic) {
        true => Ok(Some(token)),
        false => Err(format!("{}: the token must be of visible ASCII characters without a space", file.display())),
    }
}
