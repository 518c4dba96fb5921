// The words that a test and the program under test share: a file of whole numbers, which both map. A word of
// zero changes nothing. The names are those of `Word` in preload.rs, in the same order.
#ifndef CONTROL_H
#define CONTROL_H

#include <stdatomic.h>
#include <stdint.h>

enum word {
    CLOCK_SECONDS, // added to the time of day
    NO_THREADS,    // other than 0: no thread can be made
    FAULT,         // what happens to the operation that is struck: see `enum fault`
    OPERATIONS,    // which operations count: a sum of `enum operation`
    FILES,         // on which files: a sum of `enum kind`
    COUNTDOWN,     // the operation that brings it to 0 is struck
    TIMES,         // so many operations are struck from there on
    STRUCK,        // how many were struck
    BIT,           // which bit of what was read is flipped
    SEEN,          // how many operations counted
    SEND_BUFFER,   // bytes for what is sent on a connection that is accepted; 0: as the system likes
    NEXT_FILE,     // the number of the next file that is opened
    WORDS = 512,   // 4 kB
};

enum operation { WRITE = 1, SYNC = 2, TRUNCATE = 4, OPEN = 8, UNLINK = 16, READ = 32, RENAME = 64 };

enum kind { STORE = 1, LOG = 2, OTHER = 4 };

enum fault {
    NONE,
    FAILS,       // with EIO
    NO_SPACE,    // ENOSPC
    HALVED,      // half of it is done, and said to be
    LAST,        // it is done, and the process dies
    HALVED_LAST, // half of it is done, and the process dies
    FLIPPED,     // a bit of what was read is wrong
    HANGS,       // it is done once there is no such fault any more
};

// The words; a page of zeros where no test asks for anything.
_Atomic int64_t *control(void);

#endif
