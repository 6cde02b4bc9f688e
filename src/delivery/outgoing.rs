//! The part of a message that goes to other servers: into the queue, beside the Maildirs. Each envelope sender has an entry
//! of its own. What leaves has our Received on top, and neither Return-Path nor Delivered-To.

#[cfg(feature = "relay")]
pub use with_queue::{Elsewhere, Outgoing};
#[cfg(not(feature = "relay"))]
pub use without::{Elsewhere, Outgoing};

use crate::smtp::dsn::{Notify, Ret};

/// A recipient on another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onward {
    /// Its address, without brackets.
    pub address: String,
    /// The envelope sender that an alias gives; `None` for a recipient that the sender named.
    pub alias_sender: Option<String>,
    /// NOTIFY.
    pub notify: Notify,
    /// ORCPT, in xtext.
    pub orcpt: Option<String>,
}

/// What the sender asked for, and the user that is answerable for what it sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// RET.
    pub ret: Option<Ret>,
    /// ENVID, in xtext.
    pub envid: Option<String>,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// An account.
    pub user: Option<String>,
}

/// A message with so many `Received` fields of our own goes in circles.
pub(super) const OWN_PASSES: usize = 3;

#[cfg(feature = "relay")]
mod with_queue {
    use super::{Asked, Onward};
    use crate::delivery::{Delivery, Failure};
    use crate::message::trace::{self, Trace};
    use crate::queue::{Envelope, Error, Queue, QueueId, Recipient, Staged, Writer};
    use std::io::{self, Write};

    /// The envelopes of the message, each with another sender.
    #[derive(Clone, Debug)]
    pub struct Elsewhere(Vec<Envelope>);

    impl Elsewhere {
        /// For each envelope sender one envelope; `None` without recipients. `sender` is the reverse-path, empty for the
        /// null path.
        ///
        /// What leaves by an alias is another message for DSN (RFC 3461 section 5.2.7.3): its owner has sent it. A notice
        /// keeps the null path, so that no notice about it comes.
        pub fn new(sender: &str, recipients: impl IntoIterator<Item = Onward>, asked: &Asked) -> Option<Elsewhere> {
            let mut envelopes: Vec<(bool, Envelope)> = Vec::new();
            for Onward { address, alias_sender, notify, orcpt } in recipients {
                let by_alias = alias_sender.is_some();
                let reverse_path = alias_sender.filter(|_| !sender.is_empty()).unwrap_or_else(|| sender.to_owned());
                let to = if by_alias { Recipient::new(&address) } else { Recipient { address, notify, orcpt } };
                let is_same = |(alias, envelope): &&mut (bool, Envelope)| {
                    *alias == by_alias && envelope.reverse_path == reverse_path
                };
                match envelopes.iter_mut().find(is_same) {
                    Some((_, envelope)) => envelope.recipients.push(to),
                    None => {
                        let Asked { ret, envid, smtputf8, user } = asked.clone();
                        let recipients = vec![to];
                        let envelope = Envelope { reverse_path, recipients, ret, envid, smtputf8, user, arrived: 0 };
                        let of_alias = Envelope { ret: None, envid: None, user: None, ..envelope.clone() };
                        envelopes.push((by_alias, if by_alias { of_alias } else { envelope }));
                    }
                }
            }
            let mut all: Vec<Envelope> = envelopes.into_iter().map(|(_, envelope)| envelope).collect();
            for envelope in &mut all {
                let is_ascii = |to: &Recipient| to.address.is_ascii();
                envelope.smtputf8 |= !envelope.reverse_path.is_ascii() || !envelope.recipients.iter().all(is_ascii);
            }
            (!all.is_empty()).then_some(Elsewhere(all))
        }
    }

    impl From<Error> for Failure {
        fn from(error: Error) -> Failure {
            match error {
                Error::Full(why) => Failure::DiskFull(why),
                Error::System(error) => Failure::System(error),
            }
        }
    }

    fn queue(delivery: &Delivery) -> Result<&Queue, Failure> {
        let missing = || Failure::System(io::Error::other("the queue is not open"));
        delivery.queue().map(|queue| &**queue).ok_or_else(missing)
    }

    /// Entries that are being written. Dropping them leaves nothing.
    #[derive(Debug)]
    pub struct Outgoing<'a>(Vec<Writer<'a>>);

    impl<'a> Outgoing<'a> {
        /// Begins every entry with our Received and the fields that a client forgot.
        pub(in super::super) fn begin(
            delivery: &'a Delivery,
            elsewhere: Elsewhere,
            trace: &Trace<'_>,
            added: &[u8],
        ) -> Result<Outgoing<'a>, Failure> {
            let queue = queue(delivery)?;
            let mut writers = Vec::new();
            for envelope in elsewhere.0 {
                let mut writer = queue.begin(envelope)?;
                let id = writer.id().to_string();
                writer.write_all(&trace::received(&Trace { id: &id, ..*trace }))?;
                writer.write_all(added)?;
                writers.push(writer);
            }
            Ok(Outgoing(writers))
        }

        pub(in super::super) fn write(&mut self, octets: &[u8]) -> Result<(), Failure> {
            Ok(self.0.iter_mut().try_for_each(|writer| writer.write_all(octets))?)
        }

        /// Octets with CRLF line ends.
        pub(in super::super) fn size(&self) -> u64 {
            self.0.first().map_or(0, Writer::size)
        }

        /// Makes them safe on disk; they do not wait to be sent yet.
        pub(in super::super) fn stage(self) -> Result<Ready<'a>, Failure> {
            Ok(Ready(self.0.into_iter().map(Writer::stage).collect::<Result<_, _>>()?))
        }
    }

    /// Entries that are safe on disk. Dropping them leaves nothing.
    #[derive(Debug)]
    pub struct Ready<'a>(Vec<Staged<'a>>);

    impl Ready<'_> {
        /// Lets all of them wait to be sent, or none.
        pub(in super::super) fn publish(self, delivery: &Delivery) -> Result<Waiting<'_>, Failure> {
            let mut waiting = Waiting { queue: queue(delivery)?, ids: Vec::new() };
            for staged in self.0 {
                waiting.ids.push(staged.publish()?);
            }
            Ok(waiting)
        }
    }

    /// Entries that wait to be sent. Dropping them takes them back: the message could not be stored for its users here.
    #[derive(Debug)]
    pub struct Waiting<'a> {
        queue: &'a Queue,
        ids: Vec<QueueId>,
    }

    impl Waiting<'_> {
        /// The message is safe everywhere.
        pub(in super::super) fn keep(mut self) -> Vec<String> {
            std::mem::take(&mut self.ids).iter().map(QueueId::to_string).collect()
        }
    }

    impl Drop for Waiting<'_> {
        fn drop(&mut self) {
            for id in &self.ids {
                if let Err(error) = self.queue.remove(id) {
                    log::error!(
                        "queue: {id}: was refused, and cannot be taken out of the queue: {error}; it may be sent"
                    );
                }
            }
        }
    }
}

#[cfg(not(feature = "relay"))]
mod without {
    use crate::delivery::{Delivery, Failure};
    use crate::message::trace::Trace;
    use std::marker::PhantomData;

    /// This mailbell sends nothing elsewhere, so there is no value of this type.
    #[derive(Clone, Debug)]
    pub enum Elsewhere {}

    impl Elsewhere {
        /// `None`: no recipient on another server was accepted.
        pub fn new(_: &str, _: impl IntoIterator<Item = super::Onward>, _: &super::Asked) -> Option<Elsewhere> {
            None
        }
    }

    /// No value either.
    #[derive(Debug)]
    pub struct Outgoing<'a>(Elsewhere, PhantomData<&'a ()>);

    impl<'a> Outgoing<'a> {
        pub(in super::super) fn begin(
            _: &'a Delivery,
            elsewhere: Elsewhere,
            _: &Trace<'_>,
            _: &[u8],
        ) -> Result<Outgoing<'a>, Failure> {
            match elsewhere {}
        }

        pub(in super::super) fn write(&mut self, _: &[u8]) -> Result<(), Failure> {
            match self.0 {}
        }

        pub(in super::super) fn size(&self) -> u64 {
            match self.0 {}
        }

        pub(in super::super) fn stage(self) -> Result<Outgoing<'a>, Failure> {
            match self.0 {}
        }

        pub(in super::super) fn publish(self, _: &Delivery) -> Result<Outgoing<'a>, Failure> {
            match self.0 {}
        }

        pub(in super::super) fn keep(self) -> Vec<String> {
            match self.0 {}
        }
    }
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use super::*;

    #[test]
    fn each_envelope_sender_has_an_envelope_and_an_alias_takes_no_parameters_along() {
        let to = |address: &str, alias: Option<&str>| Onward {
            address: address.into(),
            alias_sender: alias.map(str::to_owned),
            notify: Notify::NEVER,
            orcpt: Some("rfc822;x".into()),
        };
        let all = || {
            [to("a@x.example", None), to("b@y.example", Some("alice@example.org")), to("c@z.example", None)].into_iter()
        };
        let asked =
            Asked { ret: Some(Ret::Full), envid: Some("e".into()), smtputf8: false, user: Some("alice".into()) };
        let shown = |sender: &str| {
            format!(
                "{:?}",
                Elsewhere::new(sender, all().chain([to("\u{e9}@x.example", Some("alice@example.org"))]), &asked)
            )
        };
        let own = "reverse_path: \"alice@example.org\", recipients: [Recipient { address: \"a@x.example\", notify: Notify(1), \
                   orcpt: Some(\"rfc822;x\") }, Recipient { address: \"c@z.example\", notify: Notify(1), orcpt: \
                   Some(\"rfc822;x\") }], ret: Some(Full), envid: Some(\"e\"), smtputf8: false, user: Some(\"alice\")";
        let alias = "recipients: [Recipient { address: \"b@y.example\", notify: Notify(0), orcpt: None }, Recipient { \
                     address: \"\u{e9}@x.example\", notify: Notify(0), orcpt: None }], ret: None, envid: None, smtputf8: \
                     true, user: None";
        let said = shown("alice@example.org");
        assert!(said.contains(own) && said.contains(alias), "{said}");
        // A notice that is sent on stays one.
        assert_eq!(shown("").matches("reverse_path: \"\"").count(), 2);
        assert!(Elsewhere::new("a@b", [], &asked).is_none());
    }
}
