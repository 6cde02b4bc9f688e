//! Message data on the way in: CRLF lines with dots stuffed become LF lines; the end is CRLF . CRLF and nothing else.

/// A strict little machine over the octets of message data. Start of DATA counts as after CRLF.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    // private state to be built
}

impl Decoder {
    /// Before the first octet.
    pub fn new() -> Decoder {
        Decoder::default()
    }

    /// Decodes `input` and appends what is to be stored to `out`. Gives how many octets of `input` belong to the message,
    /// and whether it ended there; the rest is the next command's.
    pub fn decode(&mut self, _input: &[u8], _out: &mut Vec<u8>) -> (usize, bool) {
        unimplemented!("dot::decode")
    }
}

/// The same for BDAT (RFC 3030): no dots, no end of data; CRLF becomes LF, across chunks too.
#[derive(Clone, Debug, Default)]
pub struct LineEnds {
    // private state to be built
}

impl LineEnds {
    /// Before the first octet.
    pub fn new() -> LineEnds {
        LineEnds::default()
    }

    /// Appends what is to be stored of `input` to `out`.
    pub fn decode(&mut self, _input: &[u8], _out: &mut Vec<u8>) {
        unimplemented!("dot::decode")
    }

    /// The end of the last chunk: what was held back.
    pub fn finish(&mut self, _out: &mut Vec<u8>) {
        unimplemented!("dot::decode")
    }
}
