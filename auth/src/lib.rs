//! Who is asking, and what may they do: JWT, identities, grants.
