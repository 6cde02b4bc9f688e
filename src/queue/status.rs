//! What people see of the sender.

/// What the sender does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Doing {
    /// There is no `[relay]`.
    #[default]
    Off,
    /// Nothing is due.
    Idle,
    /// Connects or sends.
    Sending,
    /// The smarthost cannot be reached; all messages wait for the next try.
    Waiting,
    /// Login or TLS failed; all messages wait for the next try.
    Refused,
}

impl Doing {
    /// Its word.
    pub fn name(self) -> &'static str {
        match self {
            Doing::Off => "off",
            Doing::Idle => "idle",
            Doing::Sending => "sending",
            Doing::Waiting => "waiting",
            Doing::Refused => "refused",
        }
    }
}

/// The sender, since the start of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// What it does.
    pub doing: Doing,
    /// The last session with the smarthost that was good, seconds since 1970.
    pub last_success: Option<u64>,
    /// When the smarthost is tried again, seconds since 1970, while it cannot be used.
    pub next_try: Option<u64>,
    /// Why it cannot be used.
    pub last_error: Option<String>,
    /// Recipients that the smarthost took.
    pub sent: u64,
    /// Tries for one recipient that are repeated later.
    pub deferred: u64,
    /// Recipients that failed.
    pub bounced: u64,
}
