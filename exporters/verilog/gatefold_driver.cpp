// Streams samples through a design that Verilator made C++ of. Usage: driver INPUT OUTPUT SAMPLES
//
// Ports are copied as bytes, so it runs on little-endian machines. GF_PORTS names them:
//   #define GF_INPUTS(X) X(image)
//   #define GF_OUTPUTS(X) X(scores)
//   #define GF_CLOCKED 1
// A record is the ports one after another, each as wide as its variable in C++.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

static unsigned long noise = 0xACE1u;

// A bit of a 16-bit maximal-length shift register; the sequence is always the same.
static bool coin() {
    for (int i = 0; i < 3; i++) noise = (noise >> 1) ^ (-(noise & 1u) & 0xB400u);
    return noise & 1u;
}

template <class Port> static const unsigned char* take(Port& port, const unsigned char* bytes) {
    std::memcpy(static_cast<void*>(&port), bytes, sizeof port);
    return bytes + sizeof port;
}

template <class Port> static unsigned char* give(const Port& port, unsigned char* bytes) {
    std::memcpy(bytes, static_cast<const void*>(&port), sizeof port);
    return bytes + sizeof port;
}

static const unsigned char* drive(Vgf& design, const unsigned char* bytes) {
#define X(name) bytes = take(design.name, bytes);
    GF_INPUTS(X)
#undef X
    return bytes;
}

static unsigned char* sample(Vgf& design, unsigned char* bytes) {
#define X(name) bytes = give(design.name, bytes);
    GF_OUTPUTS(X)
#undef X
    return bytes;
}

#if GF_CLOCKED
static void clock(Vgf& design) {
    design.clk = 0;
    design.eval();
    design.clk = 1;
    design.eval();
}

static bool stream(Vgf& design, const unsigned char* in, size_t record, unsigned char* out, size_t count) {
    size_t sent = 0, received = 0, idle = 0;
    design.rst = 1;
    design.ce = 0;
    design.in_valid = 1;
    clock(design);
    design.rst = 0;
    while (received < count) {
        // what is valid now is taken at the next edge, if that counts; between samples the last one stays
        design.ce = coin() || coin();
        design.in_valid = sent < count && (coin() || coin());
        if (design.in_valid) drive(design, in + sent * record);
        if (design.ce && design.out_valid) {
            out = sample(design, out);
            received++;
            idle = 0;
        } else if (++idle > 64 + 8 * GF_LATENCY) {
            return false;
        }
        sent += design.ce && design.in_valid;
        clock(design);
    }
    return true;
}
#else
static bool stream(Vgf& design, const unsigned char* in, size_t record, unsigned char* out, size_t count) {
    for (size_t i = 0; i < count; i++) {
        drive(design, in + i * record);
        design.eval();
        out = sample(design, out);
    }
    return true;
}
#endif

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const size_t count = std::strtoull(argv[3], nullptr, 10);
    VerilatedContext context;
    context.randReset(2);
    context.randSeed(1);
    Vgf design(&context);
    size_t taken = 0, given = 0;
#define X(name) taken += sizeof design.name;
    GF_INPUTS(X)
#undef X
#define X(name) given += sizeof design.name;
    GF_OUTPUTS(X)
#undef X
    std::vector<unsigned char> in(taken * count), out(given * count);
    std::FILE* file = std::fopen(argv[1], "rb");
    if (!file || std::fread(in.data(), 1, in.size(), file) != in.size()) return 3;
    std::fclose(file);
    if (!stream(design, in.data(), taken, out.data(), count)) {
        std::fprintf(stderr, "error: the pipeline gives no more results\n");
        return 4;
    }
    design.final();
    file = std::fopen(argv[2], "wb");
    if (!file || std::fwrite(out.data(), 1, out.size(), file) != out.size()) return 5;
    return std::fclose(file) ? 5 : 0;
}
