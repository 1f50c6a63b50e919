//! What a link has to do when other rules and keys are in force.

use super::Worker;
use crate::client::connection::{Connection, Leave};
use crate::client::error::LinkError;
use crate::client::protocol::Dial;

impl<D: Dial> Worker<D> {
    // SPEC §4, "before erasing, re-publish the ones and reconnect for the others"
    pub(super) async fn reloaded(
        &mut self,
        connection: &mut Connection<D::Requests>,
    ) -> Result<(), LinkError> {
        self.note_retained();
        self.note_will(connection);
        self.reopen().await
    }

    /// The same while there is no connection, whose will is sealed when it is made.
    pub(super) async fn reloaded_offline(&mut self) -> Result<(), LinkError> {
        self.note_retained();
        self.reopen().await
    }

    fn note_will(&self, connection: &mut Connection<D::Requests>) {
        let guard = self.parts.guards.tx();
        let will = self.parts.will.as_ref().filter(|_| !connection.probe);
        if will.is_some_and(|will| will.key(&guard) != connection.will_key)
            && connection.leave == Leave::Stays
        {
            connection.leave = Leave::Wanted;
        }
    }
}
