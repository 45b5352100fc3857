//! Whether values of a form can be written into a field of a mapping.
