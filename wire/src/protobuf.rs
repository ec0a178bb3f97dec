//! Walks over the fields of one protobuf message without decoding or allocating.
//!
//! **What**  [`FieldReader`] yields number and raw value of each field in turn. Groups, which the protocol does not use,
//! are malformed.

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("a field ends beyond the message")]
    Truncated,
    #[error("a varint is longer than ten bytes")]
    LongVarint,
    #[error("a field has the number 0 or one above 2^29")]
    BadNumber,
    #[error("wire type {0} is not used by this protocol")]
    BadWireType(u8),
    #[error("field {0} has another wire type than the protocol gives it")]
    WrongType(u32),
}

/// A field's value, not interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValue<'a> {
    Varint(u64),
    Fixed64,
    Bytes(&'a [u8]),
    Fixed32,
}

/// Yields the fields of a message in their order.
pub(crate) struct FieldReader<'a> {
    rest: &'a [u8],
}

impl<'a> FieldReader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, FieldValue<'a>)>, FieldError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| FieldError::BadNumber)?;
        let number = key >> 3;
        if number == 0 {
            return Err(FieldError::BadNumber);
        }
        let value = match key & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => self.take(8).map(|_| FieldValue::Fixed64)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| FieldError::Truncated)?;
                FieldValue::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| FieldValue::Fixed32)?,
            other => return Err(FieldError::BadWireType((other & 7) as u8)),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], FieldError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(FieldError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, FieldError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(FieldError::Truncated)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // The tenth byte holds one bit only.
                return if shift == 63 && *byte > 1 { Err(FieldError::LongVarint) } else { Ok(value) };
            }
        }
        Err(FieldError::LongVarint)
    }
}

/// An int32 as protobuf stores it: sign-extended to 64 bits; higher bits are dropped.
pub(crate) fn int32(value: u64) -> i32 {
    ((value & 0xffff_ffff) as u32).cast_signed()
}
