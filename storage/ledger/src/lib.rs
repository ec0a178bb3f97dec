//! The quorum protocol of one ledger: writer, recovery with fencing, reader.
