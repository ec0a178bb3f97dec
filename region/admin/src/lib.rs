//! The admin REST API as a pure machine on broker commands.
