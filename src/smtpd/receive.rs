//! Message data: from the socket through a decoder into the store, and the outcome. Data that is refused is read to its end
//! all the same, and answered once.

use super::Driver;
use crate::config::ListenerKind;
use crate::delivery::{self, Envelope, Incoming};
use crate::message::dot::decode::{Decoder, LineEnds};
use crate::message::trace::{Facts, Origin, Via};
use crate::net::conn::Error;
use crate::smtp::{Failure, Recipient, Step, Stored};
use std::time::Instant;

/// So much is decoded at once, octets: a small message whole.
const SLICE: usize = 8 * 1024;

/// A message that comes by BDAT, from one chunk to the next.
pub(super) struct Message<'a> {
    ends: LineEnds,
    incoming: Incoming<'a>,
}

impl<'a> Driver<'a> {
    /// DATA: up to CRLF . CRLF.
    pub(super) fn receive_data(&mut self) -> Result<Step, Error> {
        let Some(mut incoming) = self.begin() else { return Ok(Step::Close) };
        let mut decoder = Decoder::new();
        let (began, mut received, mut ended) = (Instant::now(), 0, false);
        while !ended {
            let data = self.conn.data(began, received)?;
            let data = &data[..data.len().min(SLICE)];
            let taken;
            self.decoded.clear();
            (taken, ended) = decoder.decode(data, &mut self.decoded);
            self.conn.consume(taken);
            received += taken as u64;
            incoming.write(&self.decoded);
        }
        Ok(self.store(incoming))
    }

    /// BDAT: so many octets.
    pub(super) fn receive_chunk(&mut self, octets: u64, last: bool) -> Result<Step, Error> {
        let mut message = match self.session.take_message() {
            Some(message) => message,
            None => {
                let Some(incoming) = self.begin() else { return Ok(Step::Close) };
                Box::new(Message { ends: LineEnds::new(), incoming })
            }
        };
        let (began, mut left) = (Instant::now(), octets);
        while left > 0 {
            let data = self.conn.data(began, octets - left)?;
            let data = &data[..data.len().min(usize::try_from(left).unwrap_or(SLICE)).min(SLICE)];
            self.decoded.clear();
            message.ends.decode(data, &mut self.decoded);
            message.incoming.write(&self.decoded);
            let taken = data.len();
            self.conn.consume(taken);
            left -= taken as u64;
        }
        if !last {
            return Ok(self.session.chunk_received(octets, message, self.conn.output()));
        }
        self.decoded.clear();
        message.ends.finish(&mut self.decoded);
        message.incoming.write(&self.decoded);
        Ok(self.store(message.incoming))
    }

    /// The octets of a refused chunk.
    pub(super) fn discard(&mut self, octets: u64) -> Result<Step, Error> {
        let (began, mut left) = (Instant::now(), octets);
        while left > 0 {
            let taken = self.conn.data(began, octets - left)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            self.conn.consume(taken);
            left -= taken as u64;
        }
        Ok(Step::Continue)
    }

    /// Opens a message in the store for the envelope that the transaction has.
    fn begin(&self) -> Option<Incoming<'a>> {
        let transaction = self.session.transaction()?;
        let helo = self.session.helo()?;
        let recipients = transaction
            .mailboxes()
            .into_iter()
            .map(|(user, path)| delivery::Recipient { user: user.to_owned(), typed: path.text.clone() });
        let named_elsewhere = transaction.recipients.iter().any(Recipient::is_elsewhere);
        let envelope = Envelope {
            origin: Origin {
                mail_from: Some(transaction.reverse_path.to_string()),
                client: self.client.ip().map(|ip| ip.to_string()),
                helo: Some(helo.name.clone()),
                auth: self.session.user().map(str::to_owned),
                tls: self.conn.tls_description(),
                ..Origin::unknown(if self.kind == ListenerKind::Lmtp { Via::Lmtp } else { Via::Smtp })
            },
            facts: Facts { extended: helo.extended, smtputf8: transaction.smtputf8 },
            recipients: recipients.collect(),
            max_size: self.service.config.smtp.max_message_size,
            complete_header: self.is_submission() || self.kind == ListenerKind::Local || named_elsewhere,
        };
        let mut incoming = self.service.delivery.begin_with(envelope, self.outgoing());
        if self.owes_notice() {
            incoming.keep_header();
        }
        Some(incoming)
    }

    /// Makes the message last, and says so: once, or in LMTP to each recipient.
    fn store(&mut self, incoming: Incoming<'a>) -> Step {
        let counters = &self.service.counters;
        let outcome = incoming.commit();
        self.conn.mark_progress();
        let told = match &outcome {
            Ok(stored) => {
                self.log_stored(stored);
                if self.owes_notice() {
                    self.tell_delivered(stored);
                }
                Ok(Stored { id: &stored.id, only_queued: self.is_only_queued(), over_quota: &stored.over_quota })
            }
            Err(failure) => {
                counters.messages_refused.one();
                let line = self.log_line("refused").field("why", failure);
                let (failure, ours) = match failure {
                    delivery::Failure::TooLarge => (Failure::TooLarge, false),
                    delivery::Failure::Loop => (Failure::Loop, false),
                    delivery::Failure::OverQuota => (Failure::OverQuota, false),
                    delivery::Failure::DiskFull(_) => (Failure::NoRoom, true),
                    delivery::Failure::System(_) => (Failure::System, true),
                };
                if ours {
                    line.warn()
                } else {
                    line.info()
                }
                Err(failure)
            }
        };
        self.session.stored(told, self.conn.output())
    }

    /// No user here gets the message.
    fn is_only_queued(&self) -> bool {
        self.session.transaction().is_some_and(|transaction| transaction.mailboxes().is_empty())
    }

    fn log_stored(&self, stored: &delivery::Stored) {
        let counters = &self.service.counters;
        let transaction = self.session.transaction();
        let mailboxes = transaction.map(|transaction| transaction.mailboxes()).unwrap_or_default();
        let (full, got): (Vec<_>, Vec<_>) =
            mailboxes.into_iter().partition(|(user, _)| stored.over_quota.iter().any(|full| full == user));
        let names = |those: &[(&str, _)]| those.iter().map(|(user, _)| *user).collect::<Vec<_>>().join(",");
        if !full.is_empty() {
            self.log_line("refused").field("users", names(&full)).field("why", "over-quota").info();
        }
        if got.is_empty() && stored.queued.is_empty() {
            counters.messages_refused.one();
            return;
        }
        counters.messages_accepted.one();
        counters.octets_accepted.add(stored.size);
        if !got.is_empty() {
            let line = self.log_line("accepted").field("id", &stored.id).field("size", stored.size);
            line.field("users", names(&got)).info();
        }
        let outside = transaction.map_or(0, |transaction| transaction.outside().len());
        for id in &stored.queued {
            self.log_line("queued").field("id", id).field("size", stored.size).field("recipients", outside).info();
        }
    }
}
