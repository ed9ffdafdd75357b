//! ICE's checks among other datagrams (RFC 8445 section 7.2.2), without reading them whole.

use super::{ATTRIBUTE_HEADER_LEN, AttrType, Frame, MESSAGE_HEADER_LEN, attribute, padded, u16_at};

const BINDING_REQUEST: u16 = 0x0001;

/// Whether these bytes are a Binding request of somebody with a name. Who asks a STUN server for an address has none, and
/// no other request is a check.
pub fn is_check(bytes: &[u8]) -> bool {
    if u16_at(bytes, 0) != Some(BINDING_REQUEST)
        || !matches!(Frame::of_datagram(bytes), Some(Frame::Message(_)))
    {
        return false;
    }
    let mut at = MESSAGE_HEADER_LEN;
    while let (Some(attr), Some(len)) = (u16_at(bytes, at), u16_at(bytes, at + 2)) {
        if AttrType(attr) == attribute::USERNAME {
            return true;
        }
        at += ATTRIBUTE_HEADER_LEN + padded(usize::from(len));
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Builder, Class, Method, TransactionId};

    #[test]
    fn a_check_is_a_binding_request_with_a_name() {
        let request = |method| Builder::request(method, TransactionId([1; 12]));
        for (bytes, expected) in [
            (request(Method::Binding).username("a:b").finish(), true),
            (request(Method::Binding).software("x").priority(1).username("a:b").fingerprint().finish(), true),
            (request(Method::Binding).software("x").finish(), false),
            (request(Method::Binding).finish(), false),
            (request(Method::Allocate).username("a:b").finish(), false),
            (
                Builder::new(Class::Indication, Method::Binding, TransactionId([1; 12]))
                    .username("a:b")
                    .finish(),
                false,
            ),
            (vec![], false),
        ] {
            assert_eq!(is_check(&bytes), expected, "{bytes:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(attributes: Vec<u8>) {
            let len = (attributes.len() as u16).to_be_bytes();
            is_check(&[&[0, 1, len[0], len[1], 0x21, 0x12, 0xa4, 0x42][..], &[7; 12], &attributes].concat());
            is_check(&attributes);
        }
    }
}
