// The words that a test and the program under test share: a file of whole numbers, which both map. A word of
// zero changes nothing. The names are those of `Word` in preload.rs, in the same order.
#ifndef CONTROL_H
#define CONTROL_H

#include <stdatomic.h>
#include <stdint.h>

enum word {
    CLOCK_SECONDS, // added to the time of day
    NO_THREADS,    // other than 0: no thread can be made
    WORDS = 512,   // 4 kB
};

// The words; a page of zeros where no test asks for anything.
_Atomic int64_t *control(void);

#endif
