import{l as o}from"./chunk-OQV6HUGK.js";var n=o(null),p=o(null);export{n as a,p as b};
