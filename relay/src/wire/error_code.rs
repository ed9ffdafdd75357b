//! The codes of ERROR-CODE that TURN uses (RFC 8489 section 14.8, RFC 8656 section 19).

use std::fmt;

/// An error code; the associated constants are those that this relay gives.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// Use another server; ALTERNATE-SERVER says which.
    pub const TRY_ALTERNATE: Self = Self(300);
    /// An attribute is missing or cannot be read.
    pub const BAD_REQUEST: Self = Self(400);
    /// No credentials, or wrong ones.
    pub const UNAUTHENTICATED: Self = Self(401);
    /// Correct, but policy says no.
    pub const FORBIDDEN: Self = Self(403);
    /// An attribute that must be understood is not.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);
    /// There is no allocation, or there is one already.
    pub const ALLOCATION_MISMATCH: Self = Self(437);
    /// The nonce is too old; the answer carries a fresh one.
    pub const STALE_NONCE: Self = Self(438);
    /// This server cannot relay from an address of that family.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: Self = Self(440);
    /// The allocation belongs to another user.
    pub const WRONG_CREDENTIALS: Self = Self(441);
    /// Only UDP is relayed.
    pub const UNSUPPORTED_TRANSPORT_PROTOCOL: Self = Self(442);
    /// The peer's family is not that of the relayed address.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: Self = Self(443);
    /// This client has as many allocations as it may have.
    pub const ALLOCATION_QUOTA_REACHED: Self = Self(486);
    /// This server has no more room.
    pub const INSUFFICIENT_CAPACITY: Self = Self(508);

    /// What the RFC calls it; empty for a code that TURN does not use.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::TRY_ALTERNATE => "Try Alternate",
            Self::BAD_REQUEST => "Bad Request",
            Self::UNAUTHENTICATED => "Unauthenticated",
            Self::FORBIDDEN => "Forbidden",
            Self::UNKNOWN_ATTRIBUTE => "Unknown Attribute",
            Self::ALLOCATION_MISMATCH => "Allocation Mismatch",
            Self::STALE_NONCE => "Stale Nonce",
            Self::ADDRESS_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
            Self::WRONG_CREDENTIALS => "Wrong Credentials",
            Self::UNSUPPORTED_TRANSPORT_PROTOCOL => "Unsupported Transport Protocol",
            Self::PEER_ADDRESS_FAMILY_MISMATCH => "Peer Address Family Mismatch",
            Self::ALLOCATION_QUOTA_REACHED => "Allocation Quota Reached",
            Self::INSUFFICIENT_CAPACITY => "Insufficient Capacity",
            _ => "",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason() {
            "" => write!(f, "{}", self.0),
            reason => write!(f, "{} {reason}", self.0),
        }
    }
}
