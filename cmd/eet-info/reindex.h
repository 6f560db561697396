/* Append the lines that a spool's index lacks. */
#ifndef EET_INFO_REINDEX_H
#define EET_INFO_REINDEX_H

/*
 * Append a line for each complete segment in dir that has none, and rewrite nothing.  Returns an
 * exit status; what went wrong was printed.
 */
int reindex(const char *dir);

#endif
