//! A folder without any list: captions from the names of files and folders ([`naming`]).

mod naming;
mod ucs;
mod words;

use super::listing::{Described, Listing, id_of};

/// Describes every recording in the folder and below by its name.
pub fn read(listing: &mut Listing) {
    for file in listing.folder().sounds() {
        let id = id_of(&file);
        match naming::describe(&file, listing.folder().name()) {
            Some(naming::Description { category, captions }) => {
                listing.add(Described { id, file, category, captions, split: None });
            }
            None => listing.skip(id, "neither its name nor its folder's says what it is; rename one of them"),
        }
    }
}
