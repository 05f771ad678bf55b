/* The C side of `python -m benchmarks.poll`: a server of 125 registers, and a client loop that measures itself.

   server: prints its port on 127.0.0.1 and answers until it is ended.
   client PORT: for each number N on its input, reads 100 registers N times and prints CPU and wall ns of all. */

#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int serve(void)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, 125, 125);
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    fd_set all, ready;
    int listener = modbus_tcp_listen(context, 8), most = listener, fd, length;

    if (listener < 0 || map == NULL || getsockname(listener, (struct sockaddr *) &address, &size) < 0)
        return 1;
    for (int i = 0; i < 125; i++)
        map->tab_registers[i] = map->tab_input_registers[i] = (uint16_t) ((37 * i) % 4001 - 2000);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    FD_ZERO(&all);
    FD_SET(listener, &all);
    for (;;) {
        ready = all;
        if (select(most + 1, &ready, NULL, NULL, NULL) < 0)
            return 1;
        for (fd = 0; fd <= most; fd++) {
            if (!FD_ISSET(fd, &ready))
                continue;
            if (fd == listener) {
                int fresh = modbus_tcp_accept(context, &listener);
                if (fresh >= 0)
                    FD_SET(fresh, &all);
                if (fresh > most)
                    most = fresh;
                continue;
            }
            modbus_set_socket(context, fd);
            length = modbus_receive(context, query);
            if (length > 0)
                modbus_reply(context, query, length, map);
            else if (length < 0) {
                close(fd);
                FD_CLR(fd, &all);
            }
        }
    }
}

static int ask(int port)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", port);
    uint16_t registers[100];
    char line[32];

    if (modbus_set_slave(context, 1) < 0 || modbus_connect(context) < 0)
        return 1;
    while (fgets(line, sizeof line, stdin)) {
        long count = atol(line);
        long long wall = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
        for (long i = 0; i < count; i++)
            if (modbus_read_registers(context, 0, 100, registers) != 100 || registers[1] != (uint16_t) -1963)
                return 1;
        printf("%lld %lld\n", now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu, now_ns(CLOCK_MONOTONIC) - wall);
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "server") == 0)
        return serve();
    if (argc == 3 && strcmp(argv[1], "client") == 0)
        return ask(atoi(argv[2]));
    return 2;
}
