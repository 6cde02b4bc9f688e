//! The commands of an envelope: MAIL and RCPT with the parameters that the server knows, and what cannot be sent to it.

use super::capabilities::Capabilities;
use super::reply::Reply;
use super::step::{Message, Recipient};
use crate::message::idn::to_ascii;
use std::borrow::Cow;

/// MAIL with its parameters.
///
/// # Errors
///
/// Why the message cannot be sent to this server at all.
pub(super) fn mail(message: &Message, can: &Capabilities) -> Result<String, Reply> {
    if let Some(limit @ 1..) = can.size
        && message.size > limit
    {
        let text = format!("5.3.4 the message has {} octets, and the smarthost takes {limit} at most", message.size);
        return Err(Reply::own(&text));
    }
    if message.eight_bit && !can.eight_bit {
        return Err(Reply::own("5.6.3 the message has 8-bit octets, and the smarthost has no 8BITMIME"));
    }
    let path = path(&message.reverse_path, can);
    let needs_utf8 =
        message.utf8_header || !path.is_ascii() || message.recipients.iter().any(|to| !to.address.is_ascii());
    if !can.smtputf8 && (message.utf8_header || !path.is_ascii()) {
        let what = if path.is_ascii() { "a header field" } else { "the sender's address" };
        return Err(Reply::own(&format!("5.6.7 {what} is not ASCII, and the smarthost has no SMTPUTF8")));
    }
    let mut command = format!("MAIL FROM:<{path}>");
    if can.size.is_some() {
        command += &format!(" SIZE={}", message.size);
    }
    if message.eight_bit && can.eight_bit {
        command += " BODY=8BITMIME";
    }
    if needs_utf8 && can.smtputf8 {
        command += " SMTPUTF8";
    }
    if can.dsn {
        if let Some(ret) = message.ret {
            command += &format!(" RET={}", ret.name());
        }
        if let Some(envid) = &message.envid {
            command += &format!(" ENVID={envid}");
        }
    }
    Ok(command + "\r\n")
}

/// RCPT with its parameters.
///
/// # Errors
///
/// Why this recipient cannot be named to this server.
pub(super) fn rcpt(recipient: &Recipient, can: &Capabilities) -> Result<String, Reply> {
    let path = path(&recipient.address, can);
    if !path.is_ascii() && !can.smtputf8 {
        return Err(Reply::own("5.6.7 the recipient's address is not ASCII, and the smarthost has no SMTPUTF8"));
    }
    let mut command = format!("RCPT TO:<{path}>");
    if can.dsn {
        if recipient.notify.is_given() {
            command += &format!(" NOTIFY={}", recipient.notify);
        }
        if let Some(orcpt) = recipient.orcpt.as_ref().filter(|orcpt| orcpt.is_ascii() || can.smtputf8) {
            command += &format!(" ORCPT={orcpt}");
        }
    }
    Ok(command + "\r\n")
}

/// The address, for a server without SMTPUTF8 with its domain in A-labels.
fn path<'a>(address: &'a str, can: &Capabilities) -> Cow<'a, str> {
    match address.rsplit_once('@') {
        Some((local_part, domain)) if !domain.is_ascii() && !can.smtputf8 => {
            Cow::Owned(format!("{local_part}@{}", to_ascii(domain)))
        }
        _ => Cow::Borrowed(address),
    }
}
