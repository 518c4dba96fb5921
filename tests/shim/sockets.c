// Connections whose buffer for what is sent is small. Else the system takes megabytes of answers that nobody reads.
#define _GNU_SOURCE
#include "control.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int accept4(int listener, struct sockaddr *restrict address, socklen_t *restrict length, int flags) {
    int connection = syscall(SYS_accept4, listener, address, length, flags);
    int bytes = atomic_load(&control()[SEND_BUFFER]);
    if (connection >= 0 && bytes)
        setsockopt(connection, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    return connection;
}
