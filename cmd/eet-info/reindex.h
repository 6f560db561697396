/* Make a spool's index again from what is there. */
#ifndef EET_INFO_REINDEX_H
#define EET_INFO_REINDEX_H

/*
 * Lines of the index that are sound are kept, those of segments that are gone are
 * not; a segment without a line gets one, as in a recovery.  Returns an exit status;
 * what went wrong was said.
 */
int reindex(const char *dir);

#endif
